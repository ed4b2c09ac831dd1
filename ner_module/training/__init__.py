"""Running a training: directories, checkpoints, exact resume, cluster jobs, results and prediction files."""
