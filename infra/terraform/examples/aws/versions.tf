terraform {
  required_version = ">= 1.9"

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = "~> 6.0"
    }
  }

  # The state names every resource; it holds no password. Keep it in a bucket of its own:
  #   backend "s3" { bucket = "...", key = "prefixfleet", region = "...", use_lockfile = true, encrypt = true }
}

provider "aws" {
  region = var.region

  default_tags {
    tags = { project = var.name }
  }
}
