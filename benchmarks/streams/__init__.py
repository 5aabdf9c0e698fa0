"""Do predictions and training on files of any size stay within memory?"""
