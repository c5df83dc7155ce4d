"""MLflow: connection, runs, registered versions, aliases, and the model that MLflow loads."""
