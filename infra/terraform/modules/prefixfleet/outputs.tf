output "params" {
  description = "Sections for params.yaml of the workspace and of the gateway."
  value       = module.settings.params
}

output "environment" {
  description = "Environment variables without secrets: object-storage.env of infra/kubernetes/overlays/cloud."
  value       = module.settings.environment
}

output "secrets" {
  description = "Environment variables with passwords, to be put where <NAME> stands: secrets of the cluster."
  value       = module.settings.secrets
}

output "dvc_remote" {
  description = "URL for `dvc remote add --default`."
  value       = module.settings.dvc_remote
}

output "backups" {
  description = "URL of the folder for backups."
  value       = module.settings.backups
}

output "buckets" {
  description = "Name of each bucket by its purpose."
  value       = { for purpose, bucket in aws_s3_bucket.fleet : purpose => bucket.bucket }
}

output "database" {
  description = "Address of the database, and the ARN of the secret with the master user's name and password."
  value = {
    address           = aws_db_instance.fleet.address
    port              = aws_db_instance.fleet.port
    username          = aws_db_instance.fleet.username
    master_secret_arn = aws_db_instance.fleet.master_user_secret[0].secret_arn
  }
}

output "role_arns" {
  description = "ARN of each part's role."
  value = merge(
    { for part, role in aws_iam_role.pods : part => role.arn },
    { for role in aws_iam_role.ci : "ci" => role.arn },
  )
}

output "key_arn" {
  description = "ARN of the KMS key, for whoever else is to read the buckets."
  value       = aws_kms_key.fleet.arn
}
