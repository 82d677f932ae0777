"""What people do with models: accounts, conversations, feedback, blind votes, and the datasets that come of them."""
