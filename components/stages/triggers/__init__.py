"""What starts a retraining beside the schedule and a person, and the record of why each run happened."""
