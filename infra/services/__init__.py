"""`make services`: PostgreSQL, S3, MLflow, Prefect, workers and the model server as processes of one machine.

For seeing a whole fleet without containers. Everything is in one folder (var/services) and listens on loopback only.
"""
