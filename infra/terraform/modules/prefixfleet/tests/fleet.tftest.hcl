# `terraform init && terraform test` in modules/prefixfleet: plans and applies with a mocked provider, so it needs the
# provider's schema from the registry, but no account.

mock_provider "aws" {
  mock_data "aws_caller_identity" {
    defaults = { account_id = "123456789012" }
  }
  mock_data "aws_partition" {
    defaults = { partition = "aws" }
  }
  mock_data "aws_region" {
    defaults = { region = "eu-central-1" }
  }
  mock_data "aws_iam_policy_document" {
    defaults = { json = "{}" }
  }
  mock_resource "aws_s3_bucket" {
    defaults = { arn = "arn:aws:s3:::bucket" }
  }
  mock_resource "aws_kms_key" {
    defaults = { arn = "arn:aws:kms:eu-central-1:123456789012:key/1" }
  }
  mock_resource "aws_iam_role" {
    defaults = { arn = "arn:aws:iam::123456789012:role/role" }
  }
  mock_resource "aws_db_instance" {
    defaults = {
      address            = "fleet.example.com"
      port               = 5432
      master_user_secret = [{ secret_arn = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:rds" }]
    }
  }
}

variables {
  vpc_id                          = "vpc-1"
  database_subnet_ids             = ["subnet-1", "subnet-2"]
  database_client_security_groups = { nodes = "sg-1" }
  cluster_name                    = "fleet"
}

run "defaults" {
  command = apply

  assert {
    condition     = output.buckets.exchange == "prefixfleet-123456789012-exchange"
    error_message = "A bucket is named after the fleet, the account and its purpose."
  }
  assert {
    condition     = toset(keys(output.role_arns)) == toset(["base-model", "cluster-autoscaler", "engine", "flows", "gateway", "mlflow", "shard"])
    error_message = "Each part that uses AWS has a role; CI only if it is named."
  }
  assert {
    condition     = yamldecode(output.params).workers.keep_days == 3 && !can(yamldecode(output.params).serve)
    error_message = "Without engines there are only settings of workers."
  }
  assert {
    condition     = [for rule in aws_s3_bucket_lifecycle_configuration.fleet["exchange"].rule : rule.expiration[0].days if try(rule.filter[0].prefix, null) == "tenants/"] == [4]
    error_message = "The exchange ends a day after the parent's own removal."
  }
  assert {
    condition     = length(aws_s3_bucket_lifecycle_configuration.fleet["dvc"].rule) == 1
    error_message = "Nothing current is removed from the data."
  }
}

run "with_ci_and_engines" {
  command = apply

  variables {
    vllm_engines = true
    autoscaler   = false
    ci = {
      oidc_provider_arn = "arn:aws:iam::123456789012:oidc-provider/token.actions.githubusercontent.com"
      subjects          = ["repo:example/fleet:ref:refs/heads/main"]
    }
  }

  assert {
    condition     = contains(keys(output.role_arns), "ci") && !contains(keys(output.role_arns), "cluster-autoscaler")
    error_message = "Roles follow the variables ci and autoscaler."
  }
  assert {
    condition     = contains([for each in data.aws_iam_policy_document.ci[0].statement[0].condition : each.variable], "token.actions.githubusercontent.com:sub")
    error_message = "CI is known by the subject of its token."
  }
  assert {
    condition     = yamldecode(output.params).serve.engine_store == output.environment.ENGINE_STORE
    error_message = "Gateway and engines have the same store."
  }
}

run "ci_of_every_repository_is_refused" {
  command = plan

  variables {
    ci = {
      oidc_provider_arn = "arn:aws:iam::123456789012:oidc-provider/token.actions.githubusercontent.com"
      subjects          = ["repo:*"]
    }
  }
  expect_failures = [var.ci]
}

run "wrong_values_are_refused" {
  command = plan

  variables {
    name                            = "Fleet"
    vpc_id                          = "10.0.0.0/16"
    database_subnet_ids             = ["subnet-1"]
    database_client_security_groups = {}
    database_instance_class         = "m7i.large"
    database_storage_gb             = { initial = 10, maximum = 5 }
    database_backup_days            = 0
    workers_keep_days               = 0.5
    noncurrent_days                 = 0
    access_log_days                 = 0
    cluster_name                    = "arn:aws:eks:eu-central-1:123456789012:cluster/fleet"
    base_folder                     = "/base/"
  }
  expect_failures = [
    var.name,
    var.vpc_id,
    var.database_subnet_ids,
    var.database_client_security_groups,
    var.database_instance_class,
    var.database_storage_gb,
    var.database_backup_days,
    var.workers_keep_days,
    var.noncurrent_days,
    var.access_log_days,
    var.cluster_name,
    var.base_folder,
  ]
}
