"""Each prints figures as ratios measured in one run."""
