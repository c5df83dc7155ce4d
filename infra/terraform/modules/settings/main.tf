# What to put into params.yaml, environment variables and secrets, under the names that the fleet reads. No provider is
# needed, so the tests evaluate this module and load what it gives. Knows no password: each stands as <NAME>.

locals {
  host = "${var.database_address}:${var.database_port}"

  params = merge(
    {
      workers = {
        exchange  = "s3://${var.buckets.exchange}"
        keep_days = var.workers_keep_days
      }
      backup = {
        target = "s3://${var.buckets.backups}/fleet"
      }
    },
    var.vllm_engines ? {
      serve = {
        engine       = "vllm"
        engine_store = "s3://${var.buckets.engines}"
      }
    } : {},
  )

  environment = merge(
    {
      AWS_DEFAULT_REGION           = var.region
      MLFLOW_ARTIFACTS_DESTINATION = "s3://${var.buckets.mlflow}"
      BASE_SOURCE                  = "s3://${var.buckets.bases}/${var.base_folder}"
    },
    var.vllm_engines ? { ENGINE_STORE = "s3://${var.buckets.engines}" } : {},
  )

  secrets = {
    PREFIXFLEET_DATABASE     = "postgresql+psycopg2://prefixfleet:<PREFIXFLEET_DB_PASSWORD>@${local.host}/prefixfleet?sslmode=require"
    MLFLOW_BACKEND_STORE_URI = "postgresql+psycopg2://mlflow:<MLFLOW_DB_PASSWORD>@${local.host}/mlflow?sslmode=require"
    PREFECT_API_DATABASE_CONNECTION_URL = (
      "postgresql+asyncpg://prefect:<PREFECT_DB_PASSWORD>@${local.host}/prefect?ssl=require"
    )
  }
}
