"""The fine-tuning API without HTTP: uploaded files, jobs, and the processes that run the jobs."""
