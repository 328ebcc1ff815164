package kubernetes

import (
	"encoding/base64"
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	quantity "k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"slipway.dev/models"
	"slipway.dev/services/deploy"
)

const (
	containerName = "app"
	portName      = "http"

	// lingerTime is how long a pod that goes still answers: so long the ingress
	// controllers take to hear of it.
	lingerTime = 5 * time.Second
	// graceTime is how long a pod may take to end that nobody else gave a time,
	// such as one whose node is emptied.
	graceTime = 30 * time.Second
	// startPatience is how often the startup probe may fail, one second apart:
	// longer than any rollout waits.
	startPatience = 3600
)

func meta(name, namespace string, labels map[string]string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Name: name, Namespace: namespace, Labels: labels}
}

// space is the environment's namespace.
func (t *target) space(r deploy.Release) object {
	return object{namespaces, &corev1.Namespace{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Namespace"}, ObjectMeta: meta(t.namespace(r), "", t.placeLabels(r))}}
}

// wall lets an environment's pods be reached by each other and by what is in no
// environment of this Slipway, such as the ingress controller, and by nobody else's pods.
func (t *target) wall(r deploy.Release) object {
	others := metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: labelEnvironment, Operator: metav1.LabelSelectorOpDoesNotExist}}}
	return object{policies, &networkingv1.NetworkPolicy{
		TypeMeta: metav1.TypeMeta{APIVersion: "networking.k8s.io/v1", Kind: "NetworkPolicy"}, ObjectMeta: meta("slipway-environment", t.namespace(r), t.placeLabels(r)),
		Spec: networkingv1.NetworkPolicySpec{
			PolicyTypes: []networkingv1.PolicyType{networkingv1.PolicyTypeIngress},
			Ingress: []networkingv1.NetworkPolicyIngressRule{{From: []networkingv1.NetworkPolicyPeer{
				{PodSelector: &metav1.LabelSelector{}}, {NamespaceSelector: &others},
			}}},
		},
	}}
}

// variables are what anybody who reads the namespace may see.
func (t *target) variables(r deploy.Release) object {
	data := map[string]string{}
	for _, name := range r.Plain {
		data[name] = r.Env[name]
	}
	return object{configMaps, &corev1.ConfigMap{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "ConfigMap"}, ObjectMeta: t.meta(r, "-env"), Data: data, Immutable: ptr(true)}}
}

// hidden are the opened secrets.
func (t *target) hidden(r deploy.Release) object {
	data := map[string][]byte{}
	for name, value := range r.Env {
		if !slices.Contains(r.Plain, name) {
			data[name] = []byte(value)
		}
	}
	return object{secrets, &corev1.Secret{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Secret"}, ObjectMeta: t.meta(r, "-secrets"), Type: corev1.SecretTypeOpaque, Data: data, Immutable: ptr(true)}}
}

// pullSecret is what the nodes pull the image with.
func (t *target) pullSecret(r deploy.Release, user, password string) (object, error) {
	host, _, _ := strings.Cut(r.Image.Repository, "/")
	login := map[string]string{"username": user, "password": password, "auth": base64.StdEncoding.EncodeToString([]byte(user + ":" + password))}
	config, err := json.Marshal(map[string]any{"auths": map[string]any{host: login}})
	return object{secrets, &corev1.Secret{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Secret"}, ObjectMeta: t.meta(r, "-pull"),
		Type: corev1.SecretTypeDockerConfigJson, Data: map[string][]byte{corev1.DockerConfigJsonKey: config},
	}}, err
}

// meta names a release's object.
func (t *target) meta(r deploy.Release, end string) metav1.ObjectMeta {
	return meta(nameOf(r)+end, t.namespace(r), t.labels(r))
}

// workload is the release's Deployment, of so many pods.
func (t *target) workload(r deploy.Release, replicas int) object {
	strategy := appsv1.DeploymentStrategy{Type: appsv1.RollingUpdateDeploymentStrategyType,
		RollingUpdate: &appsv1.RollingUpdateDeployment{MaxUnavailable: ptr(intstr.FromInt32(0)), MaxSurge: ptr(intstr.FromInt32(1))}}
	if len(r.Volumes) > 0 && !t.settings.shared { // a second pod on another node would wait for the volume forever
		strategy = appsv1.DeploymentStrategy{Type: appsv1.RecreateDeploymentStrategyType}
	}
	return object{deployments, &appsv1.Deployment{
		TypeMeta: metav1.TypeMeta{APIVersion: "apps/v1", Kind: "Deployment"}, ObjectMeta: t.meta(r, ""),
		Spec: appsv1.DeploymentSpec{
			Replicas: ptr(int32(replicas)), RevisionHistoryLimit: ptr(int32(1)),
			Selector: &metav1.LabelSelector{MatchLabels: t.selector(r.ID)},
			Strategy: strategy,
			Template: t.template(r, partApp),
		},
	}}
}

// task is the Job that runs the release's command once.
func (t *target) task(r deploy.Release) object {
	return object{jobs, &batchv1.Job{
		TypeMeta: metav1.TypeMeta{APIVersion: "batch/v1", Kind: "Job"}, ObjectMeta: t.meta(r, "-command"),
		Spec: batchv1.JobSpec{BackoffLimit: ptr(int32(0)), Template: t.template(r, partCommand)},
	}}
}

// template is a pod of the release. It gets no account of the cluster and no
// right to become more than its image says.
func (t *target) template(r deploy.Release, part string) corev1.PodTemplateSpec {
	labels := t.labels(r)
	labels[labelPart] = part
	spec := corev1.PodSpec{
		Containers: []corev1.Container{t.container(r)}, RestartPolicy: corev1.RestartPolicyAlways,
		AutomountServiceAccountToken: ptr(false), EnableServiceLinks: ptr(false),
		SecurityContext:               &corev1.PodSecurityContext{SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault}},
		ImagePullSecrets:              []corev1.LocalObjectReference{{Name: nameOf(r) + "-pull"}},
		TerminationGracePeriodSeconds: ptr(int64((lingerTime + graceTime) / time.Second)),
	}
	mount(r, &spec)
	if part == partCommand {
		c := &spec.Containers[0]
		c.Args, c.Ports, c.StartupProbe, c.ReadinessProbe, c.Lifecycle = literally(r.Command), nil, nil, nil, nil
		spec.RestartPolicy, spec.TerminationGracePeriodSeconds = corev1.RestartPolicyNever, ptr(int64(5))
	} else {
		spec.TopologySpreadConstraints = []corev1.TopologySpreadConstraint{{MaxSkew: 1, TopologyKey: corev1.LabelHostname,
			WhenUnsatisfiable: corev1.ScheduleAnyway, LabelSelector: &metav1.LabelSelector{MatchLabels: t.selector(r.ID)}}}
	}
	return corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: spec}
}

// literally are the arguments as the program is to get them: a node makes $$ one $, and puts the variable in for $(NAME)
// (https://kubernetes.io/docs/tasks/inject-data-application/define-command-argument-container).
func literally(args []string) []string {
	out := make([]string, len(args))
	for i, a := range args {
		out[i] = strings.ReplaceAll(a, "$", "$$")
	}
	return out
}

func (t *target) container(r deploy.Release) corev1.Container {
	limits := corev1.ResourceList{}
	if r.Scale.CPU > 0 {
		limits[corev1.ResourceCPU] = *quantity.NewMilliQuantity(r.Scale.CPU, quantity.DecimalSI)
	}
	if r.Scale.Memory > 0 {
		limits[corev1.ResourceMemory] = *quantity.NewQuantity(r.Scale.Memory, quantity.BinarySI)
	}
	probe := func(period, misses int32) *corev1.Probe {
		return &corev1.Probe{ProbeHandler: handler(r), PeriodSeconds: period, FailureThreshold: misses, SuccessThreshold: 1, TimeoutSeconds: 3}
	}
	return corev1.Container{
		Name: containerName, Image: r.Image.Ref(), ImagePullPolicy: corev1.PullIfNotPresent,
		Ports: []corev1.ContainerPort{{Name: portName, ContainerPort: int32(r.Port), Protocol: corev1.ProtocolTCP}},
		EnvFrom: []corev1.EnvFromSource{
			{ConfigMapRef: &corev1.ConfigMapEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: nameOf(r) + "-env"}}},
			{SecretRef: &corev1.SecretEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: nameOf(r) + "-secrets"}}},
		},
		Resources:       corev1.ResourceRequirements{Limits: limits, Requests: maps.Clone(limits)},
		StartupProbe:    probe(1, startPatience),
		ReadinessProbe:  probe(5, 2),
		Lifecycle:       &corev1.Lifecycle{PreStop: &corev1.LifecycleHandler{Sleep: &corev1.SleepAction{Seconds: int64(lingerTime / time.Second)}}},
		SecurityContext: &corev1.SecurityContext{AllowPrivilegeEscalation: ptr(false), Privileged: ptr(false)},
	}
}

// handler is how a node asks whether the app is healthy.
func handler(r deploy.Release) corev1.ProbeHandler {
	port := intstr.FromInt32(int32(r.Port))
	if r.Health == models.HealthTCP {
		return corev1.ProbeHandler{TCPSocket: &corev1.TCPSocketAction{Port: port}}
	}
	return corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: r.HealthPath, Port: port, Scheme: corev1.URISchemeHTTP}}
}

// scaler changes the number of pods by the load.
func (t *target) scaler(r deploy.Release) object {
	return object{scalers, &autoscalingv2.HorizontalPodAutoscaler{
		TypeMeta: metav1.TypeMeta{APIVersion: "autoscaling/v2", Kind: "HorizontalPodAutoscaler"}, ObjectMeta: t.meta(r, ""),
		Spec: autoscalingv2.HorizontalPodAutoscalerSpec{
			ScaleTargetRef: autoscalingv2.CrossVersionObjectReference{APIVersion: "apps/v1", Kind: "Deployment", Name: nameOf(r)},
			MinReplicas:    ptr(int32(r.Scale.Replicas)), MaxReplicas: int32(r.Scale.Max),
			Metrics: []autoscalingv2.MetricSpec{{Type: autoscalingv2.ResourceMetricSourceType, Resource: &autoscalingv2.ResourceMetricSource{
				Name: corev1.ResourceCPU, Target: autoscalingv2.MetricTarget{Type: autoscalingv2.UtilizationMetricType, AverageUtilization: ptr(int32(r.Scale.CPUTarget))}}}},
		},
	}}
}

// door is the app's Service, which leads to the release.
func (t *target) door(r deploy.Release) object {
	return object{services, &corev1.Service{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Service"}, ObjectMeta: meta(serviceOf(r), t.namespace(r), t.labels(r)),
		Spec: corev1.ServiceSpec{Type: corev1.ServiceTypeClusterIP, Selector: t.selector(r.ID),
			Ports: []corev1.ServicePort{{Name: portName, Port: 80, TargetPort: intstr.FromString(portName), Protocol: corev1.ProtocolTCP}}},
	}}
}

// issuerAnnotation has cert-manager keep a certificate for an Ingress (https://cert-manager.io/docs/usage/ingress/).
const issuerAnnotation = "cert-manager.io/cluster-issuer"

// way leads visitors of the path, and of what is below it, to the app's Service.
func way(r deploy.Release, path string) networkingv1.HTTPIngressPath {
	return networkingv1.HTTPIngressPath{Path: path, PathType: ptr(networkingv1.PathTypePrefix),
		Backend: networkingv1.IngressBackend{Service: &networkingv1.IngressServiceBackend{Name: serviceOf(r), Port: networkingv1.ServiceBackendPort{Name: portName}}}}
}

// gate is the app's Ingress, which brings the visitors of the host to the Service.
func (t *target) gate(r deploy.Release, host string) object {
	m := meta(serviceOf(r), t.namespace(r), t.labels(r))
	if t.settings.issuer != "" {
		m.Annotations = map[string]string{issuerAnnotation: t.settings.issuer}
	}
	var tls []networkingv1.IngressTLS
	switch {
	case t.settings.issuer != "" && t.settings.tlsSecret == "":
		tls = tlsOf(host, deploy.Cut(serviceOf(r), maxLabel-4)+"-tls")
	case t.settings.https:
		tls = tlsOf(host, t.settings.tlsSecret)
	}
	return t.ingress(m, host, []networkingv1.HTTPIngressPath{way(r, "/")}, tls)
}

// tlsOf serves the host by the certificate in the secret.
func tlsOf(host, secret string) []networkingv1.IngressTLS {
	return []networkingv1.IngressTLS{{Hosts: []string{host}, SecretName: secret}}
}

// ingress leads visitors of the host's paths as they say.
func (t *target) ingress(m metav1.ObjectMeta, host string, paths []networkingv1.HTTPIngressPath, tls []networkingv1.IngressTLS) object {
	spec := networkingv1.IngressSpec{TLS: tls, Rules: []networkingv1.IngressRule{{
		Host: host, IngressRuleValue: networkingv1.IngressRuleValue{HTTP: &networkingv1.HTTPIngressRuleValue{Paths: paths}}}}}
	if t.settings.class != "" {
		spec.IngressClassName = &t.settings.class
	}
	return object{ingresses, &networkingv1.Ingress{TypeMeta: metav1.TypeMeta{APIVersion: "networking.k8s.io/v1", Kind: "Ingress"}, ObjectMeta: m, Spec: spec}}
}
