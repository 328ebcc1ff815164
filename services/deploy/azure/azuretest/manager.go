package azuretest

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	aca "github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/appcontainers/armappcontainers/v3"
	"github.com/google/uuid"
)

// operation is something that goes on after its call was answered
// (https://learn.microsoft.com/azure/azure-resource-manager/management/async-operations).
type operation struct {
	ended         bool
	code, message string // of its failure
	result        func() any
}

const group = "/subscriptions/{subscription}/resourceGroups/{group}"
const provider = group + "/providers/Microsoft.App"

// manager serves the Resource Manager.
func (s *Server) manager(mux *http.ServeMux) {
	on := func(pattern, action string, do http.HandlerFunc) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			if g := r.PathValue("group"); g != "" && g != Group {
				refuse(w, http.StatusNotFound, "ResourceGroupNotFound", "Resource group '%s' could not be found.", g)
				return
			}
			if s.allow(w, r, action) {
				do(w, r)
			}
		})
	}
	on("GET /subscriptions/{subscription}/providers/Microsoft.App", "Microsoft.Resources/subscriptions/providers/read", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, http.StatusOK, map[string]any{"namespace": "Microsoft.App", "registrationState": s.Provider})
	})
	on("GET "+group+"/providers/Microsoft.Authorization/permissions", "Microsoft.Authorization/permissions/read", s.permissions)
	on("GET "+group+"/providers/Microsoft.ManagedIdentity/userAssignedIdentities/{identity}/providers/Microsoft.Authorization/permissions", "Microsoft.Authorization/permissions/read", s.permissions)
	on("GET "+provider+"/managedEnvironments/{environment}", "Microsoft.App/managedEnvironments/read", s.environment)
	on("GET "+provider+"/managedEnvironments/{environment}/usages", "Microsoft.App/managedEnvironments/usages/read", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, http.StatusOK, aca.ListUsagesResult{Value: []*aca.Usage{{Name: &aca.UsageName{Value: to.Ptr("ManagedEnvironmentConsumptionCores")}, Unit: to.Ptr("Count"), CurrentValue: &s.Cores, Limit: &s.Limit}}})
	})
	on("GET "+provider+"/locations/{location}/containerappOperationStatuses/{operation}", "", s.operationStatus)
	on("GET "+provider+"/locations/{location}/containerappOperationResults/{operation}", "", s.operationResult)
	s.appRoutes(on)
	s.jobRoutes(on)
}

func (s *Server) permissions(w http.ResponseWriter, _ *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	answer(w, http.StatusOK, map[string]any{"value": []any{map[string]any{"actions": []string{"*"}, "notActions": slices.Concat([]string{"Microsoft.Authorization/*/Write"}, s.denied)}}})
}

func (s *Server) environmentID() string {
	return "/subscriptions/" + s.Subscription + "/resourceGroups/" + Group + "/providers/Microsoft.App/managedEnvironments/" + Environment
}

func (s *Server) environment(w http.ResponseWriter, r *http.Request) {
	if r.PathValue("environment") != Environment {
		refuse(w, http.StatusNotFound, "ResourceNotFound", "The Resource 'Microsoft.App/managedEnvironments/%s' under resource group '%s' was not found.", r.PathValue("environment"), Group)
		return
	}
	logs := &aca.AppLogsConfiguration{Destination: to.Ptr("none")}
	if s.Workspace != "" {
		logs = &aca.AppLogsConfiguration{Destination: to.Ptr("log-analytics"), LogAnalyticsConfiguration: &aca.LogAnalyticsConfiguration{CustomerID: to.Ptr(s.Workspace)}}
	}
	answer(w, http.StatusOK, aca.ManagedEnvironment{
		ID: to.Ptr(s.environmentID()), Name: to.Ptr(Environment), Location: to.Ptr(Location), Type: to.Ptr("Microsoft.App/managedEnvironments"),
		Properties: &aca.ManagedEnvironmentProperties{ProvisioningState: to.Ptr(aca.EnvironmentProvisioningStateSucceeded), DefaultDomain: to.Ptr("home.test"), AppLogsConfiguration: logs,
			WorkloadProfiles: []*aca.WorkloadProfile{{Name: to.Ptr("Consumption"), WorkloadProfileType: to.Ptr("Consumption")}}},
	})
}

// begin starts an operation; do tells with which code and message it fails.
func (s *Server) begin(do func() (code, message string), result func() any) string {
	id := uuid.NewString()
	o := &operation{result: result}
	s.ops.Lock()
	s.operations[id] = o
	s.ops.Unlock()
	s.beside(func() {
		s.wait(s.ctx, 0.5)
		code, message := do()
		s.ops.Lock()
		defer s.ops.Unlock()
		o.ended, o.code, o.message = true, code, message
	})
	return id
}

// at is the address of an operation.
func (s *Server) at(kind, id string) string {
	q := url.Values{"api-version": {"2024-03-01"}}
	return s.URL() + "/subscriptions/" + s.Subscription + "/resourceGroups/" + Group + "/providers/Microsoft.App/locations/" + Location + "/containerappOperation" + kind + "/" + id + "?" + q.Encode()
}

func (s *Server) operation(w http.ResponseWriter, r *http.Request) (o operation, ok bool) {
	s.ops.Lock()
	defer s.ops.Unlock()
	if found := s.operations[r.PathValue("operation")]; found != nil {
		return *found, true
	}
	refuse(w, http.StatusNotFound, "OperationNotFound", "The operation was not found.")
	return o, false
}

func (s *Server) operationStatus(w http.ResponseWriter, r *http.Request) {
	o, ok := s.operation(w, r)
	if !ok {
		return
	}
	body := map[string]any{"id": r.URL.Path, "name": r.PathValue("operation"), "status": "InProgress", "startTime": time.Now().UTC().Format(time.RFC3339)}
	switch {
	case o.ended && o.code != "":
		body["status"], body["error"] = "Failed", map[string]any{"code": o.code, "message": o.message}
	case o.ended:
		body["status"] = "Succeeded"
	}
	answer(w, http.StatusOK, body)
}

func (s *Server) operationResult(w http.ResponseWriter, r *http.Request) {
	o, ok := s.operation(w, r)
	switch {
	case !ok:
	case !o.ended:
		w.Header().Set("Location", s.URL()+r.URL.RequestURI())
		w.WriteHeader(http.StatusAccepted)
	case o.code != "":
		refuse(w, http.StatusBadRequest, o.code, "%s", o.message)
	case o.result == nil || o.result() == nil:
		w.WriteHeader(http.StatusNoContent)
	default:
		answer(w, http.StatusOK, o.result())
	}
}

// accepted answers a call that goes on.
func (s *Server) accepted(w http.ResponseWriter, operation string) {
	w.Header().Set("Location", s.at("Results", operation))
	w.WriteHeader(http.StatusAccepted)
}

func value[T any](p *T) (v T) {
	if p != nil {
		v = *p
	}
	return v
}

// token makes a token of the log streams below the path.
func (s *Server) streamToken(w http.ResponseWriter, path string) {
	token := "stream-" + uuid.NewString()
	s.mu.Lock()
	s.streams[token] = path
	s.mu.Unlock()
	answer(w, http.StatusOK, aca.ContainerAppAuthToken{Location: to.Ptr(Location), Properties: &aca.ContainerAppAuthTokenProperties{Token: &token, Expires: to.Ptr(time.Now().Add(time.Hour).UTC())}})
}

// streamPath is where the log streams of an app or a job are.
func (s *Server) streamPath(kind, name string) string {
	return strings.Join([]string{"/logs/subscriptions", s.Subscription, "resourceGroups", Group, kind, name}, "/")
}
