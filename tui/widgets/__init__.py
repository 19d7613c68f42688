"""One widget a file; a widget knows neither screen nor app."""
