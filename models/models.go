// Package models holds the nouns of Slipway: what is stored, which values are
// valid, which state changes are allowed, and how each thing can fail.
package models

import (
	"github.com/google/uuid"
)

// NewID returns an opaque id that sorts by the time it was made (UUIDv7, RFC 9562 §5.7).
func NewID() string { return uuid.Must(uuid.NewV7()).String() }

// All returns one of every stored model, so that a test can compare them with the migrated tables.
func All() []any {
	return []any{
		&User{}, &Team{}, &Member{},
		&Session{}, &Token{}, &Setting{}, &SigningKey{},
		&Account{}, &Invite{}, &Authorization{},
		&Connection{}, &Repository{}, &Ref{}, &DetectedDockerfile{}, &App{},
		&Build{}, &BuildStep{}, &BuildDockerfile{}, &BuildSecret{}, &BuildEngine{}, &Schedule{}, &ForgeReport{},
		&Delivery{}, &DeliveryOutcome{},
		&Target{}, &TargetRemoval{}, &TargetGrant{}, &Environment{}, &Variable{}, &VariableChange{}, &AppScale{}, &AppRuntime{}, &Approval{}, &BadImage{}, &AutoDeploy{}, &CommitRange{},
		&PreviewSettings{}, &Preview{}, &ForgeComment{},
		&Deployment{}, &DeploymentPhase{}, &Instance{}, &Route{}, &Proxy{}, &ProxyHold{},
		&Domain{}, &Address{}, &PlaceLimits{}, &Maintenance{}, &Certificate{}, &CertificateAccount{}, &CertificateOrder{}, &CertificateChallenge{},
		&RegistryRepository{}, &RegistryBlob{}, &RegistryLink{}, &RegistryManifest{},
		&RegistryReference{}, &RegistryTag{}, &RegistryTagEvent{}, &RegistryUpload{}, &RegistryPart{}, &RegistryCollection{}, &RegistryPulls{},
		&RegistryDocument{}, &RegistryName{},
		&Registry{}, &RegistryGrant{},
		&Copy{}, &CacheUpstream{}, &CacheRepository{}, &CacheTag{}, &CacheImage{},
		&FileIndex{},
		&Workflow{}, &Exchange{}, &SpentToken{}, &WorkflowRun{},
		&RegistryDeletion{}, &RegistryDeletedManifest{}, &RegistryDeletedReference{}, &RegistryDeletedTag{},
		&RegistryQuota{}, &RegistryUsage{}, &RegistryUsageDay{}, &RetentionPolicy{}, &RetentionRun{}, &RetentionItem{},
		&TargetReading{}, &UsageBucket{}, &PlaceLog{}, &LogSegment{},
		&LogStream{}, &LogChunk{}, &Event{}, &AuditEntry{}, &IdempotencyKey{}, &Worker{},
	}
}
