"""How fast are a dense and a reduced BERT, against other engines, and what limits them?"""
