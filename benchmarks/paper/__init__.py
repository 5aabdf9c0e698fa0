"""Do the figures and tables of the paper (Goyal et al., ICML 2020) hold for our own runs?"""
