"""The same results for people (`console`) and for machines (`machine`)."""
