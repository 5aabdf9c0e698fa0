"""Do many devices train to the result of one, and what do they cost?"""
