"""MLflow: connection, runs, registered versions, aliases, and the pyfunc model that MLflow loads."""
