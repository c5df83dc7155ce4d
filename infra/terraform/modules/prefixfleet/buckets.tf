# One bucket for each purpose, so that a role's rights end at a bucket.

locals {
  # Days until objects that were replaced or deleted are gone.
  buckets = {
    dvc      = { noncurrent_days = var.noncurrent_days }
    mlflow   = { noncurrent_days = var.noncurrent_days }
    exchange = { noncurrent_days = 1 }
    backups  = { noncurrent_days = var.noncurrent_days }
    # Copies of what MLflow has.
    engines = { noncurrent_days = 1 }
    bases   = { noncurrent_days = var.noncurrent_days }
  }

  # The parent removes these itself; the rule is for what it has lost sight of. bases/ stays.
  expiring = {
    exchange = ["tenants/", "shards/", "probe-"]
  }
  expire_days = ceil(var.workers_keep_days) + 1
}

resource "aws_s3_bucket" "fleet" {
  #checkov:skip=CKV_AWS_144:A copy in another region doubles the price; the bucket for backups and the database's snapshots are the way back.
  #checkov:skip=CKV2_AWS_62:Nothing listens to events of these buckets: the fleet asks for what it needs.
  for_each = local.buckets

  bucket = "${var.name}-${local.account_id}-${each.key}"
  tags   = merge(var.tags, { purpose = each.key })
}

resource "aws_s3_bucket_versioning" "fleet" {
  for_each = local.buckets

  bucket = aws_s3_bucket.fleet[each.key].id
  versioning_configuration {
    status = "Enabled"
  }
}

resource "aws_s3_bucket_server_side_encryption_configuration" "fleet" {
  for_each = local.buckets

  bucket = aws_s3_bucket.fleet[each.key].id
  rule {
    bucket_key_enabled = true
    apply_server_side_encryption_by_default {
      sse_algorithm     = "aws:kms"
      kms_master_key_id = aws_kms_key.fleet.arn
    }
  }
}

resource "aws_s3_bucket_public_access_block" "fleet" {
  for_each = local.buckets

  bucket                  = aws_s3_bucket.fleet[each.key].id
  block_public_acls       = true
  block_public_policy     = true
  ignore_public_acls      = true
  restrict_public_buckets = true
}

resource "aws_s3_bucket_ownership_controls" "fleet" {
  for_each = local.buckets

  bucket = aws_s3_bucket.fleet[each.key].id
  rule {
    object_ownership = "BucketOwnerEnforced"
  }
}

resource "aws_s3_bucket_lifecycle_configuration" "fleet" {
  for_each = local.buckets

  bucket = aws_s3_bucket.fleet[each.key].id

  rule {
    id     = "unfinished-uploads-and-old-versions"
    status = "Enabled"
    filter {}

    abort_incomplete_multipart_upload {
      days_after_initiation = 2
    }
    noncurrent_version_expiration {
      noncurrent_days = each.value.noncurrent_days
    }
    expiration {
      expired_object_delete_marker = true
    }
  }

  dynamic "rule" {
    for_each = lookup(local.expiring, each.key, [])

    content {
      id     = "expire-${trim(rule.value, "/-")}"
      status = "Enabled"
      filter {
        prefix = rule.value
      }
      expiration {
        days = local.expire_days
      }
    }
  }

  depends_on = [aws_s3_bucket_versioning.fleet]
}

resource "aws_s3_bucket_policy" "fleet" {
  for_each = local.buckets

  bucket     = aws_s3_bucket.fleet[each.key].id
  policy     = data.aws_iam_policy_document.tls_only[each.key].json
  depends_on = [aws_s3_bucket_public_access_block.fleet]
}

data "aws_iam_policy_document" "tls_only" {
  for_each = local.buckets

  statement {
    sid       = "OnlyWithTls"
    effect    = "Deny"
    actions   = ["s3:*"]
    resources = [aws_s3_bucket.fleet[each.key].arn, "${aws_s3_bucket.fleet[each.key].arn}/*"]

    principals {
      type        = "*"
      identifiers = ["*"]
    }

    condition {
      test     = "Bool"
      variable = "aws:SecureTransport"
      values   = ["false"]
    }
  }
}

resource "aws_s3_bucket_logging" "fleet" {
  for_each = local.buckets

  bucket        = aws_s3_bucket.fleet[each.key].id
  target_bucket = aws_s3_bucket.logs.id
  target_prefix = "${each.key}/"
  depends_on    = [aws_s3_bucket_policy.logs]
}
