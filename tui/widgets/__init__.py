"""The widgets, one per file; a widget knows neither the screens nor the app."""
