"""What an audit looks for in data."""
