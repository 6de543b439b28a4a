"""Networks for what comes in order: sound, text, time series, letters."""
