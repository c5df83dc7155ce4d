# PostgreSQL for MLflow, Prefect and the fleet: one instance. Its databases and their roles are made by
# infra/postgres/databases.sh, once (docs/terraform.md). RDS makes the master password and keeps it in Secrets Manager;
# it is in no state file.

resource "aws_db_instance" "fleet" {
  #checkov:skip=CKV_AWS_161:The fleet, MLflow and Prefect log in with passwords; none of them makes IAM's tokens.
  #checkov:skip=CKV2_AWS_30:Logged statements would show the roles' passwords and the tenants' texts.
  #checkov:skip=CKV_AWS_157:The standby is the variable database_multi_az, true by default.
  #checkov:skip=CKV_AWS_293:The protection is the variable database_deletion_protection, true by default.
  identifier     = var.name
  engine         = "postgres"
  engine_version = "17"
  instance_class = var.database_instance_class
  multi_az       = var.database_multi_az

  storage_type          = "gp3"
  allocated_storage     = var.database_storage_gb.initial
  max_allocated_storage = var.database_storage_gb.maximum
  storage_encrypted     = true
  kms_key_id            = aws_kms_key.fleet.arn

  username                      = "postgres"
  manage_master_user_password   = true
  master_user_secret_kms_key_id = aws_kms_key.fleet.arn

  db_subnet_group_name   = aws_db_subnet_group.fleet.name
  vpc_security_group_ids = [aws_security_group.database.id]
  publicly_accessible    = false
  parameter_group_name   = aws_db_parameter_group.fleet.name
  ca_cert_identifier     = "rds-ca-rsa2048-g1"

  # After the night and the backup of 6:00 UTC.
  backup_window             = "08:00-09:00"
  maintenance_window        = "sun:10:00-sun:11:00"
  backup_retention_period   = var.database_backup_days
  copy_tags_to_snapshot     = true
  delete_automated_backups  = false
  deletion_protection       = var.database_deletion_protection
  skip_final_snapshot       = false
  final_snapshot_identifier = "${var.name}-final"

  auto_minor_version_upgrade      = true
  enabled_cloudwatch_logs_exports = ["postgresql", "upgrade"]
  monitoring_interval             = 60
  monitoring_role_arn             = aws_iam_role.database_monitoring.arn
  performance_insights_enabled    = true
  performance_insights_kms_key_id = aws_kms_key.fleet.arn

  tags       = var.tags
  depends_on = [aws_cloudwatch_log_group.database]
}

resource "aws_db_subnet_group" "fleet" {
  name       = var.name
  subnet_ids = var.database_subnet_ids
  tags       = var.tags
}

resource "aws_db_parameter_group" "fleet" {
  name_prefix = "${var.name}-"
  family      = "postgres17"
  description = "${var.name}: connections only with TLS"
  tags        = var.tags

  parameter {
    name  = "rds.force_ssl"
    value = "1"
  }

  lifecycle {
    create_before_destroy = true
  }
}

resource "aws_cloudwatch_log_group" "database" {
  for_each = toset(["postgresql", "upgrade"])

  name              = "/aws/rds/instance/${var.name}/${each.key}"
  retention_in_days = 365
  kms_key_id        = aws_kms_key.fleet.arn
  tags              = var.tags
}

resource "aws_security_group" "database" {
  name_prefix = "${var.name}-database-"
  description = "PostgreSQL of ${var.name}"
  vpc_id      = var.vpc_id
  tags        = merge(var.tags, { Name = "${var.name}-database" })

  lifecycle {
    create_before_destroy = true
  }
}

resource "aws_vpc_security_group_ingress_rule" "database" {
  for_each = var.database_client_security_groups

  security_group_id            = aws_security_group.database.id
  description                  = "PostgreSQL from ${each.key}"
  referenced_security_group_id = each.value
  ip_protocol                  = "tcp"
  from_port                    = 5432
  to_port                      = 5432
  tags                         = var.tags
}

resource "aws_iam_role" "database_monitoring" {
  name               = "${var.name}-database-monitoring"
  assume_role_policy = data.aws_iam_policy_document.database_monitoring.json
  tags               = var.tags
}

data "aws_iam_policy_document" "database_monitoring" {
  statement {
    actions = ["sts:AssumeRole"]

    principals {
      type        = "Service"
      identifiers = ["monitoring.rds.amazonaws.com"]
    }

    condition {
      test     = "StringEquals"
      variable = "aws:SourceAccount"
      values   = [local.account_id]
    }
  }
}

resource "aws_iam_role_policy_attachment" "database_monitoring" {
  role       = aws_iam_role.database_monitoring.name
  policy_arn = "arn:${local.partition}:iam::aws:policy/service-role/AmazonRDSEnhancedMonitoringRole"
}
