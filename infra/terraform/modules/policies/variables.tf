variable "bucket_arns" {
  description = "ARN of each bucket by its purpose."
  type = object({
    dvc      = string
    mlflow   = string
    exchange = string
    backups  = string
    engines  = string
    bases    = string
  })
}

variable "key_arn" {
  description = "ARN of the KMS key that encrypts the buckets."
  type        = string
}

variable "region" {
  description = "Region of buckets and cluster, such as eu-central-1."
  type        = string
}

variable "partition" {
  description = "Partition of AWS: aws, aws-cn or aws-us-gov."
  type        = string
  default     = "aws"
}

variable "account_id" {
  description = "Account of the cluster."
  type        = string
}

variable "cluster_name" {
  description = "Name of the EKS cluster."
  type        = string
}
