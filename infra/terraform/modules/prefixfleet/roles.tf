# A role for each kind of pod, which only the pods of one service account in one namespace of one cluster can take (EKS
# Pod Identity), and one for CI. console, prefect, migrate and prefixfleet-worker need nothing of AWS and get no role.

locals {
  # Part -> service account, as infra/kubernetes names it.
  service_accounts = {
    flows      = "flows"
    shard      = "prefixfleet-shard"
    gateway    = "gateway"
    engine     = "engine"
    mlflow     = "mlflow"
    base-model = "base-model"
  }

  pods = merge(
    {
      for part, account in local.service_accounts : part => {
        namespace       = var.namespace
        service_account = account
        policy          = module.policies.documents[part]
      }
    },
    var.autoscaler ? {
      cluster-autoscaler = {
        namespace       = "kube-system"
        service_account = "cluster-autoscaler"
        policy          = module.policies.autoscaler
      }
    } : {},
  )

  cluster_arn = "arn:${local.partition}:eks:${local.region}:${local.account_id}:cluster/${var.cluster_name}"
}

resource "aws_iam_role" "pods" {
  for_each = local.pods

  name               = "${var.name}-${each.key}"
  description        = "Pods of the service account ${each.value.service_account} in ${each.value.namespace}"
  assume_role_policy = data.aws_iam_policy_document.pods[each.key].json
  tags               = var.tags
}

data "aws_iam_policy_document" "pods" {
  for_each = local.pods

  statement {
    actions = ["sts:AssumeRole", "sts:TagSession"]

    principals {
      type        = "Service"
      identifiers = ["pods.eks.amazonaws.com"]
    }

    condition {
      test     = "StringEquals"
      variable = "aws:RequestTag/eks-cluster-arn"
      values   = [local.cluster_arn]
    }

    condition {
      test     = "StringEquals"
      variable = "aws:RequestTag/kubernetes-namespace"
      values   = [each.value.namespace]
    }

    condition {
      test     = "StringEquals"
      variable = "aws:RequestTag/kubernetes-service-account"
      values   = [each.value.service_account]
    }
  }
}

resource "aws_iam_role_policy" "pods" {
  for_each = local.pods

  name   = each.key
  role   = aws_iam_role.pods[each.key].id
  policy = each.value.policy
}

resource "aws_eks_pod_identity_association" "pods" {
  for_each = local.pods

  cluster_name    = var.cluster_name
  namespace       = each.value.namespace
  service_account = each.value.service_account
  role_arn        = aws_iam_role.pods[each.key].arn
  tags            = var.tags
}

resource "aws_iam_role" "ci" {
  count = var.ci == null ? 0 : 1

  name               = "${var.name}-ci"
  description        = "CI: reads the DVC remote"
  assume_role_policy = data.aws_iam_policy_document.ci[0].json
  tags               = var.tags
}

data "aws_iam_policy_document" "ci" {
  count = var.ci == null ? 0 : 1

  statement {
    actions = ["sts:AssumeRoleWithWebIdentity"]

    principals {
      type        = "Federated"
      identifiers = [var.ci.oidc_provider_arn]
    }

    condition {
      test     = "StringEquals"
      variable = "${local.ci_issuer}:aud"
      values   = [var.ci.audience]
    }

    condition {
      test     = "StringLike"
      variable = "${local.ci_issuer}:sub"
      values   = var.ci.subjects
    }
  }
}

locals {
  ci_issuer = var.ci == null ? "" : split(":oidc-provider/", var.ci.oidc_provider_arn)[1]
}

resource "aws_iam_role_policy" "ci" {
  count = var.ci == null ? 0 : 1

  name   = "ci"
  role   = aws_iam_role.ci[0].id
  policy = module.policies.documents["ci"]
}
