# What a fleet needs of AWS: buckets, PostgreSQL, a key, and a role for each part. The cluster is another module's.

data "aws_caller_identity" "current" {}
data "aws_partition" "current" {}
data "aws_region" "current" {}

locals {
  account_id = data.aws_caller_identity.current.account_id
  partition  = data.aws_partition.current.partition
  region     = data.aws_region.current.region
}

module "policies" {
  source = "../policies"

  bucket_arns  = { for purpose, bucket in aws_s3_bucket.fleet : purpose => bucket.arn }
  key_arn      = aws_kms_key.fleet.arn
  region       = local.region
  partition    = local.partition
  account_id   = local.account_id
  cluster_name = var.cluster_name
}

module "settings" {
  source = "../settings"

  buckets           = { for purpose, bucket in aws_s3_bucket.fleet : purpose => bucket.bucket }
  region            = local.region
  database_address  = aws_db_instance.fleet.address
  database_port     = aws_db_instance.fleet.port
  workers_keep_days = var.workers_keep_days
  vllm_engines      = var.vllm_engines
  base_folder       = var.base_folder
}
