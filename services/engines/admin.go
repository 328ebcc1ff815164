package engines

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"gorm.io/gorm"
	"slipway.dev/models"
	"slipway.dev/services/audit"
	"slipway.dev/services/builds"
	"slipway.dev/services/events"
)

const (
	checkEvery   = time.Minute
	checkWithin  = 10 * time.Second
	maxAtOnce    = 64
	maxPEM       = 64 << 10
	defaultPlace = 4
)

// EngineInput is what an admin says of an engine. Certificates and key that are left empty stay as they are.
//
// The address is an admin's, who may reach the machines of the installation: it
// needs no guard against addresses inside of the network, where engines belong.
type EngineInput struct {
	Name      string `json:"name" form:"name"`
	Address   string `json:"address" form:"address" doc:"tcp://HOST:PORT of a buildkitd." example:"tcp://buildkit.example.com:1234"`
	CA        string `json:"ca,omitempty" form:"ca" doc:"PEM of the authority that signed the engine's certificate. Never shown again."`
	Cert      string `json:"cert,omitempty" form:"cert" doc:"PEM of Slipway's own certificate. Never shown again."`
	Key       string `json:"key,omitempty" form:"key" doc:"PEM of that certificate's key. Never shown again."`
	MaxBuilds int    `json:"max_builds,omitempty" form:"max_builds" doc:"Builds that it runs at once; 4 where 0."`
	Enabled   bool   `json:"enabled" form:"enabled" doc:"Builds that run go on where it is turned off."`
}

// Engine is an engine as admins see it.
type Engine struct {
	models.BuildEngine
	Fixed   bool // of the configuration: it can't be changed here
	Running int64
}

// certificates are what is sealed of an engine.
type certificates struct{ CA, Cert, Key string }

// List returns all engines, those of this process's configuration last and as they are now; for admins.
func (s *Service) List(ctx context.Context) ([]Engine, error) {
	if err := models.AuthorizeAdmin(ctx); err != nil {
		return nil, err
	}
	var rows []models.BuildEngine
	if err := s.DB.WithContext(ctx).Omit("sealed").Order("name").Find(&rows).Error; err != nil {
		return nil, fmt.Errorf("listing build engines: %w", err)
	}
	running, err := s.running(s.DB.WithContext(ctx), "")
	if err != nil {
		return nil, err
	}
	all := make([]Engine, 0, len(rows)+len(s.Fixed))
	for _, row := range rows {
		all = append(all, Engine{BuildEngine: row, Running: running[row.ID]})
	}
	for _, f := range s.Fixed {
		row := models.BuildEngine{Name: f.Name, Address: f.Address, MaxBuilds: f.MaxBuilds, Enabled: true}
		look(ctx, &row, f.Builder)
		all = append(all, Engine{BuildEngine: row, Fixed: true, Running: running[f.Key]})
	}
	return all, nil
}

// Get returns an engine, for admins.
func (s *Service) Get(ctx context.Context, id string) (*Engine, error) {
	row, err := s.row(ctx, id)
	if err != nil {
		return nil, err
	}
	running, err := s.running(s.DB.WithContext(ctx), "")
	if err != nil {
		return nil, err
	}
	row.Sealed = nil
	return &Engine{BuildEngine: *row, Running: running[id]}, nil
}

func (s *Service) row(ctx context.Context, id string) (*models.BuildEngine, error) {
	if err := models.AuthorizeAdmin(ctx); err != nil {
		return nil, err
	}
	var row models.BuildEngine
	if err := s.DB.WithContext(ctx).Where("id = ?", id).Take(&row).Error; err != nil {
		return nil, models.FromDB(err, "build engine")
	}
	return &row, nil
}

// Create adds an engine and looks at it; for admins. One that does not answer is added all the same, with the reason.
func (s *Service) Create(ctx context.Context, in EngineInput) (*Engine, error) {
	if err := models.AuthorizeAdmin(ctx); err != nil {
		return nil, err
	}
	return s.save(ctx, &models.BuildEngine{ID: models.NewID()}, in, "engine.create")
}

// Update changes an engine and looks at it; for admins.
func (s *Service) Update(ctx context.Context, id string, in EngineInput) (*Engine, error) {
	row, err := s.row(ctx, id)
	if err != nil {
		return nil, err
	}
	return s.save(ctx, row, in, "engine.update")
}

func (s *Service) save(ctx context.Context, row *models.BuildEngine, in EngineInput, action string) (*Engine, error) {
	if err := s.fill(row, in); err != nil {
		return nil, err
	}
	err := s.DB.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		if err := tx.Save(row).Error; err != nil {
			if errors.Is(err, gorm.ErrDuplicatedKey) {
				return models.InvalidField("name", "There is an engine named %q already.", row.Name)
			}
			return err
		}
		return changed(ctx, tx, row, action)
	})
	if err != nil {
		return nil, err
	}
	if err := s.check(ctx, row); err != nil {
		return nil, err
	}
	return s.Get(ctx, row.ID)
}

func changed(ctx context.Context, tx *gorm.DB, row *models.BuildEngine, action string) error {
	err := audit.Record(ctx, tx, audit.Entry{Action: action, Subject: "engine:" + row.ID, Name: row.Name,
		Detail: map[string]string{"address": row.Address, "enabled": strconv.FormatBool(row.Enabled), "max_builds": strconv.Itoa(row.MaxBuilds)}})
	if err != nil {
		return err
	}
	return events.Publish(tx, models.Event{Kind: action, Topic: "engine:" + row.ID, Parent: "engines"})
}

// fill checks the input and puts it into the row, certificates sealed.
func (s *Service) fill(row *models.BuildEngine, in EngineInput) error {
	wrong := map[string]string{}
	row.Name, row.Address, row.MaxBuilds, row.Enabled = strings.TrimSpace(in.Name), strings.TrimSpace(in.Address), in.MaxBuilds, in.Enabled
	if row.MaxBuilds == 0 {
		row.MaxBuilds = defaultPlace
	}
	if !models.ValidName(row.Name) {
		wrong["name"] = models.NameHelp
	}
	if !validAddress(row.Address) {
		wrong["address"] = "Use tcp://HOST:PORT. Sockets of a worker's own machine are set in its configuration (SLIPWAY_BUILDKIT_HOSTS)."
	}
	if row.MaxBuilds < 1 || row.MaxBuilds > maxAtOnce {
		wrong["max_builds"] = "An engine runs 1 to 64 builds at once."
	}
	kept, err := s.opened(row)
	if err != nil {
		return err
	}
	c := certificates{CA: or(in.CA, kept.CA), Cert: or(in.Cert, kept.Cert), Key: or(in.Key, kept.Key)}
	c.validate(wrong)
	if err := models.InvalidFields(wrong); err != nil {
		return err
	}
	plain, err := json.Marshal(c)
	if err == nil {
		row.Sealed = s.Box.Seal(place(row), plain)
	}
	return err
}

func or(value, otherwise string) string {
	if value = strings.TrimSpace(value); value != "" {
		return value + "\n"
	}
	return otherwise
}

func place(row *models.BuildEngine) string { return "build_engines/" + row.ID }

func validAddress(address string) bool {
	rest, ok := strings.CutPrefix(address, "tcp://")
	host, port, err := net.SplitHostPort(rest)
	n, numberErr := strconv.Atoi(port)
	return ok && err == nil && numberErr == nil && host != "" && n > 0 && n < 65536 && len(address) < 300 && !strings.ContainsAny(host, "/?#@ \t\r\n")
}

// validate names the fields whose PEM is missing, damaged or does not fit. An engine without mutual TLS would run
// whatever anyone on its network sends.
func (c certificates) validate(wrong map[string]string) {
	for field, text := range map[string]string{"ca": c.CA, "cert": c.Cert, "key": c.Key} {
		switch {
		case text == "":
			wrong[field] = "This is needed: builds travel over mutual TLS only."
		case len(text) > maxPEM:
			wrong[field] = "This is too long for a certificate or a key."
		}
	}
	if len(wrong) > 0 {
		return
	}
	if !x509.NewCertPool().AppendCertsFromPEM([]byte(c.CA)) {
		wrong["ca"] = "This is no certificate in PEM."
	}
	if _, err := tls.X509KeyPair([]byte(c.Cert), []byte(c.Key)); err != nil {
		wrong["key"] = "The certificate and its key are not PEM, or don't belong together."
	}
}

func (s *Service) opened(row *models.BuildEngine) (c certificates, err error) {
	if len(row.Sealed) == 0 {
		return c, nil
	}
	plain, err := s.Box.Open(place(row), row.Sealed)
	if err != nil {
		return c, err
	}
	return c, json.Unmarshal(plain, &c)
}

// connection is how the engine is reached.
func (s *Service) connection(row *models.BuildEngine) (Connection, error) {
	c, err := s.opened(row)
	if err != nil {
		return Connection{}, fmt.Errorf("the certificates of the build engine %s: %w", row.Name, err)
	}
	config, err := TLS([]byte(c.CA), []byte(c.Cert), []byte(c.Key))
	return Connection{Name: row.Name, Address: row.Address, TLS: config}, err
}

// TLS returns the client's side of mutual TLS for certificates and a key in PEM.
func TLS(ca, cert, key []byte) (*tls.Config, error) {
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(ca) {
		return nil, errors.New("the CA is no certificate in PEM")
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return nil, fmt.Errorf("the client certificate and its key: %w", err)
	}
	return &tls.Config{RootCAs: pool, Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}, nil
}

// Delete forgets an engine on which nothing runs; for admins.
func (s *Service) Delete(ctx context.Context, id string) error {
	row, err := s.row(ctx, id)
	if err != nil {
		return err
	}
	return s.DB.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		running, err := s.running(tx, "")
		if err != nil {
			return err
		}
		if n := running[id]; n > 0 {
			return models.Errorf(models.Conflict, "%d builds run on %s. Turn it off and delete it when they have ended.", n, row.Name)
		}
		if err := tx.Delete(&models.BuildEngine{}, "id = ?", id).Error; err != nil {
			return err
		}
		return changed(ctx, tx, row, "engine.delete")
	})
}

// Check looks at an engine now and returns it with what it says of itself, or why it does not answer; for admins.
func (s *Service) Check(ctx context.Context, id string) (*Engine, error) {
	row, err := s.row(ctx, id)
	if err != nil {
		return nil, err
	}
	if err := s.check(ctx, row); err != nil {
		return nil, err
	}
	if err := s.DB.WithContext(ctx).Transaction(func(tx *gorm.DB) error { return changed(ctx, tx, row, "engine.check") }); err != nil {
		return nil, err
	}
	return s.Get(ctx, id)
}

func (s *Service) check(ctx context.Context, row *models.BuildEngine) error {
	connection, err := s.connection(row)
	if err != nil {
		return err
	}
	look(ctx, row, s.Open(connection))
	now := s.DB.NowFunc()
	row.CheckedAt = &now
	err = s.DB.WithContext(ctx).Model(&models.BuildEngine{}).Where("id = ?", row.ID).
		Select("Version", "Platforms", "Labels", "Error", "CheckedAt").UpdateColumns(row).Error
	if err != nil {
		return fmt.Errorf("recording how a build engine is: %w", err)
	}
	return nil
}

// look asks the engine what it is.
func look(ctx context.Context, row *models.BuildEngine, b builds.Builder) {
	ctx, cancel := context.WithTimeout(ctx, checkWithin)
	defer cancel()
	can, err := b.Capabilities(ctx)
	if failure, ok := errors.AsType[*builds.Error](err); ok {
		row.Error = failure.Message
		return
	}
	if err != nil {
		row.Error = "It does not answer."
		return
	}
	row.Error, row.Version, row.Platforms, row.Labels = "", can.Engine, can.Platforms, can.Labels
}

// CheckAll looks at every engine that is on and was not looked at for a while; workers run it regularly.
func (s *Service) CheckAll(ctx context.Context) error {
	var rows []models.BuildEngine
	err := s.DB.WithContext(ctx).Where("enabled AND (checked_at IS NULL OR checked_at < ?)", s.DB.NowFunc().Add(-checkEvery)).Find(&rows).Error
	if err != nil {
		return fmt.Errorf("looking for build engines to check: %w", err)
	}
	var faults []error
	for i := range rows {
		faults = append(faults, s.check(ctx, &rows[i]))
	}
	return errors.Join(faults...)
}
