"""A model of the delivery protocol, and a search of every order in which its steps can happen."""
