"""What the pages of one tenant show: its versions, its data, its use."""
