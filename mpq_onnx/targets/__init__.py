"""What devices are and what they charge: descriptions and cost tables as data."""
