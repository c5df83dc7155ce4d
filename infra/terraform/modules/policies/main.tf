# What each part of a fleet may do with AWS, as JSON. No provider is needed: `terraform init` works without network, so
# the tests evaluate this module and try its policies. Knows ARNs; does not know who gets a policy.

locals {
  # Part -> bucket -> patterns of keys. Every bucket has one purpose, so listing is allowed for the whole bucket: without
  # the right to list, S3 answers 403 instead of 404 for a key that does not exist, and DVC takes the bucket as missing.
  access = {
    # The parent: plans, pushes data versions, sends shards, fetches results, removes old ones; `forget` and `backup`.
    flows = {
      dvc      = { read = ["*"], write = ["*"], delete = ["*"] }
      exchange = { read = ["*"], write = ["*"], delete = ["*"] }
      backups  = { read = ["*"], write = ["*"], delete = ["*"] }
      # A backup copies the versions' files from here; everything else goes through MLflow's server.
      mlflow = { read = ["*"], write = [], delete = [] }
    }
    # A worker: no right to replace the base of the others, nor to write data (docs/workers.md).
    shard = {
      dvc = { read = ["*"], write = [], delete = [] }
      exchange = {
        read   = ["*"]
        write  = ["tenants/*", "shards/*", "probe-*"]
        delete = ["tenants/*", "shards/*", "probe-*"]
      }
    }
    # Only with vLLM engines: it copies artifacts for them, and `forget` removes them.
    gateway = {
      engines = { read = ["*"], write = ["*"], delete = ["*"] }
    }
    engine = {
      engines = { read = ["*"], write = [], delete = [] }
    }
    mlflow = {
      mlflow = { read = ["*"], write = ["*"], delete = ["*"] }
    }
    # The job that copies the base into the cluster's volume.
    base-model = {
      bases = { read = ["*"], write = [], delete = [] }
    }
    # `dvc pull` in a clone.
    ci = {
      dvc = { read = ["*"], write = [], delete = [] }
    }
  }

  actions = {
    read   = ["s3:GetObject"]
    write  = ["s3:PutObject", "s3:AbortMultipartUpload"]
    delete = ["s3:DeleteObject"]
  }

  documents = {
    for part, buckets in local.access : part => {
      Version = "2012-10-17"
      Statement = concat(
        [{
          Sid      = "List"
          Effect   = "Allow"
          Action   = ["s3:ListBucket"]
          Resource = [for bucket in keys(buckets) : var.bucket_arns[bucket]]
        }],
        [
          for right, actions in local.actions : {
            Sid    = title(right)
            Effect = "Allow"
            Action = actions
            Resource = flatten([
              for bucket, patterns in buckets : [for each in patterns[right] : "${var.bucket_arns[bucket]}/${each}"]
            ])
          }
          if anytrue([for patterns in values(buckets) : length(patterns[right]) > 0])
        ],
        [{
          Sid    = "UseKey"
          Effect = "Allow"
          # Decrypt also to write: an upload in parts needs it.
          Action = anytrue([for patterns in values(buckets) : length(patterns.write) > 0]) ? [
            "kms:Decrypt", "kms:GenerateDataKey",
          ] : ["kms:Decrypt"]
          Resource  = [var.key_arn]
          Condition = { StringEquals = { "kms:ViaService" = "s3.${var.region}.amazonaws.com" } }
        }],
      )
    }
  }

  autoscaler = {
    Version = "2012-10-17"
    Statement = [
      {
        # AWS knows no smaller resource for these.
        Sid    = "Look"
        Effect = "Allow"
        Action = [
          "autoscaling:DescribeAutoScalingGroups",
          "autoscaling:DescribeAutoScalingInstances",
          "autoscaling:DescribeLaunchConfigurations",
          "autoscaling:DescribeScalingActivities",
          "ec2:DescribeImages",
          "ec2:DescribeInstanceTypes",
          "ec2:DescribeLaunchTemplateVersions",
          "ec2:GetInstanceTypesFromInstanceRequirements",
        ]
        Resource = ["*"]
      },
      {
        # Labels and taints of a group without nodes are read here.
        Sid      = "LookAtGroups"
        Effect   = "Allow"
        Action   = ["eks:DescribeNodegroup"]
        Resource = ["arn:${var.partition}:eks:${var.region}:${var.account_id}:nodegroup/${var.cluster_name}/*/*"]
      },
      {
        Sid      = "Scale"
        Effect   = "Allow"
        Action   = ["autoscaling:SetDesiredCapacity", "autoscaling:TerminateInstanceInAutoScalingGroup"]
        Resource = ["arn:${var.partition}:autoscaling:${var.region}:${var.account_id}:autoScalingGroup:*:autoScalingGroupName/*"]
        # EKS sets this tag on the groups of its managed node groups.
        Condition = { StringEquals = { "aws:ResourceTag/k8s.io/cluster-autoscaler/${var.cluster_name}" = "owned" } }
      },
    ]
  }
}
