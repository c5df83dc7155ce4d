#!/usr/bin/env bash
# Creates a role and a database for MLflow and for Prefect, and one for the fleet if PREFIXFLEET_DB_PASSWORD is set;
# without it the fleet's tables are in MLflow's. Run by the postgres image if its volume is empty, and by hand against a
# server elsewhere (docs/terraform.md), with PGHOST, PGPASSWORD and POSTGRES_USER. That user needs the rights to create
# roles and databases, and no more.
# The passwords come from the environment: a command line is visible to other processes.
set -euo pipefail

psql --set=ON_ERROR_STOP=1 --username "${POSTGRES_USER:-postgres}" --dbname "${POSTGRES_DB:-postgres}" <<'SQL'
\getenv mlflow_password MLFLOW_DB_PASSWORD
\getenv prefect_password PREFECT_DB_PASSWORD
\getenv fleet_password PREFIXFLEET_DB_PASSWORD
CREATE ROLE mlflow LOGIN PASSWORD :'mlflow_password';
-- Who is no superuser may give a database only to a role that they belong to.
GRANT mlflow TO CURRENT_USER;
CREATE DATABASE mlflow OWNER mlflow;
CREATE ROLE prefect LOGIN PASSWORD :'prefect_password';
GRANT prefect TO CURRENT_USER;
CREATE DATABASE prefect OWNER prefect;
\if :{?fleet_password}
CREATE ROLE prefixfleet LOGIN PASSWORD :'fleet_password';
GRANT prefixfleet TO CURRENT_USER;
CREATE DATABASE prefixfleet OWNER prefixfleet;
\endif
SQL
