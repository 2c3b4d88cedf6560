"""Features of videos in files: aggregation, a writer for each format, and a folder that can be continued."""
