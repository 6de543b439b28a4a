"""What is measured over time: recordings and time series."""
