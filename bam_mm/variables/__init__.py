"""Variables of configs: where a config uses them, and where its entries have other values."""
