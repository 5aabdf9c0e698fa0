"""The server under load, with clients that break the protocol and a new version in the middle: `__main__`."""
