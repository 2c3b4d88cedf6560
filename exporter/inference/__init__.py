"""Running a model over videos: open it with its preprocessing, decode beside it, and give its outputs clip by clip."""
