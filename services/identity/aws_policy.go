package identity

// amazonPolicy is what a target's calls need, and no more: what is changed or
// taken away has to carry the target's tag, which what is made gets, or to have
// a name of Slipway's (Service Authorization Reference, of each service).
func (b brief) amazonPolicy() object {
	if b.machines {
		return b.machinePolicy()
	}
	requested, tagged := b.tagged("aws:RequestTag/slipway:target"), b.tagged("aws:ResourceTag/slipway:target")
	execution := b.arn("iam", "role/"+b.values["execution_role"])
	lent := []string{execution}
	if task := b.values["task_role"]; task != "" {
		lent = append(lent, b.arn("iam", "role/"+task))
	}
	secrets := b.arn("secretsmanager", "secret:slipway/*")
	if b.targetID != "" {
		secrets = b.arn("secretsmanager", "secret:slipway/"+b.targetID+"/*")
	}
	return object{"Version": "2012-10-17", "Statement": []object{
		allow("Look", []string{
			"ec2:DescribeNetworkInterfaces", "ec2:DescribeSubnets",
			"ecs:DescribeClusters", "ecs:DescribeServices", "ecs:DescribeTaskDefinition", "ecs:DescribeTasks",
			"ecs:ListServices", "ecs:ListTaskDefinitionFamilies", "ecs:ListTaskDefinitions", "ecs:ListTasks",
			"elasticloadbalancing:DescribeListeners", "elasticloadbalancing:DescribeLoadBalancers", "elasticloadbalancing:DescribeRules",
			"elasticloadbalancing:DescribeTags", "elasticloadbalancing:DescribeTargetGroups", "elasticloadbalancing:DescribeTargetHealth",
			"logs:DescribeLogGroups", "ecr:GetAuthorizationToken",
		}, "*", nil),
		allow("Make", []string{
			"ecs:CreateCluster", "ecs:CreateService", "ecs:RegisterTaskDefinition", "ecs:RunTask", "ecs:TagResource",
			"elasticloadbalancing:AddTags", "elasticloadbalancing:CreateRule", "elasticloadbalancing:CreateTargetGroup",
		}, "*", requested),
		allow("Change", []string{
			"ecs:DeleteCluster", "ecs:DeleteService", "ecs:DeleteTaskDefinitions", "ecs:StopTask", "ecs:UpdateClusterSettings", "ecs:UpdateService",
			"elasticloadbalancing:DeleteRule", "elasticloadbalancing:DeleteTargetGroup", "elasticloadbalancing:ModifyRule", "elasticloadbalancing:ModifyTargetGroupAttributes",
		}, "*", tagged),
		allow("Forget", []string{"ecs:DeregisterTaskDefinition"}, "*", nil), // IAM knows no resources for it
		allow("Logs", []string{
			"logs:CreateLogGroup", "logs:DeleteLogGroup", "logs:GetLogEvents", "logs:ListTagsForResource", "logs:PutRetentionPolicy", "logs:TagResource",
		}, b.arn("logs", "log-group:/slipway/*"), nil),
		allow("Measure", []string{"logs:FilterLogEvents"}, b.arn("logs", "log-group:/aws/ecs/containerinsights/*"), nil),
		allow("Secrets", []string{"secretsmanager:CreateSecret", "secretsmanager:DeleteSecret", "secretsmanager:DescribeSecret", "secretsmanager:TagResource"}, secrets, nil),
		allow("Lend", []string{"iam:PassRole"}, lent, object{"StringEquals": object{"iam:PassedToService": "ecs-tasks.amazonaws.com"}}),
		allow("Ask", []string{"iam:GetRole", "iam:SimulatePrincipalPolicy"}, []string{b.arn("iam", "role/"+b.values["role"]), execution}, nil),
		allow("Images", []string{
			"ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:CompleteLayerUpload", "ecr:CreateRepository", "ecr:DescribeImages", "ecr:DescribeRepositories",
			"ecr:GetDownloadUrlForLayer", "ecr:InitiateLayerUpload", "ecr:PutImage", "ecr:UploadLayerPart",
		}, b.arn("ecr", "repository/*"), nil),
	}}
}

// machinePolicy is what the calls of a virtual machine's target need.
func (b brief) machinePolicy() object {
	created := object{"StringEquals": object{"ec2:CreateAction": []string{"RunInstances", "CreateSecurityGroup"}}}
	return object{"Version": "2012-10-17", "Statement": []object{
		allow("Look", []string{"ec2:DescribeImages", "ec2:DescribeInstances", "ec2:DescribeSecurityGroups", "ec2:DescribeSubnets"}, "*", nil),
		allow("Make", []string{"ec2:CreateSecurityGroup", "ec2:RunInstances", "ssm:GetParameter"}, "*", nil),
		allow("Tag", []string{"ec2:CreateTags"}, "*", created),
		allow("Change", []string{"ec2:AuthorizeSecurityGroupIngress", "ec2:DeleteSecurityGroup", "ec2:RevokeSecurityGroupIngress", "ec2:TerminateInstances"}, "*",
			b.tagged("aws:ResourceTag/slipway:target")),
	}}
}

// tagged is the condition that the tag is the target's; of a target that is not there yet, that there is one.
func (b brief) tagged(key string) object {
	if b.targetID == "" {
		return object{"Null": object{key: "false"}}
	}
	return object{"StringEquals": object{key: b.targetID}}
}

func allow(id string, actions []string, resource any, condition object) object {
	out := object{"Sid": id, "Effect": "Allow", "Action": actions, "Resource": resource}
	if condition != nil {
		out["Condition"] = condition
	}
	return out
}
