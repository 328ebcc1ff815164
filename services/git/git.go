// Package git reads repositories with the git program, which sees nothing of the server's own configuration,
// environment or prompts: mirrors on disk, refs, trees and checkouts. Whatever it is given (an address, a ref, a
// tree) comes from outside and is taken as hostile.
package git

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"slipway.dev/models"
	"slipway.dev/services/outbound"
)

// Service keeps a mirror of every repository in a folder and answers questions about them. Any number of
// processes may share the folder.
type Service struct {
	// Dir holds the mirrors, one bare repository for each id.
	Dir string
	// Guard decides which hosts may be reached, Proxy carries git's own HTTP through it.
	Guard *outbound.Guard
	Proxy *outbound.Proxy
	// LocalRoots are the folders below which repositories on this machine may be read. Empty: none.
	LocalRoots []string
	// Limits bounds what a repository may cost; zero fields have defaults.
	Limits Limits
}

// Limits bounds time and size. A zero field has the default in its comment.
type Limits struct {
	Fetch       time.Duration // 10 minutes for one fetch
	Check       time.Duration // 20 seconds for one look at a remote
	MirrorBytes int64         // 5 GiB on disk for one mirror
	TreeFiles   int           // 200,000 files in one tree
	TreeBytes   int64         // 2 GiB of files in one tree
}

func (l Limits) fetch() time.Duration { return or(l.Fetch, 10*time.Minute) }
func (l Limits) check() time.Duration { return or(l.Check, 20*time.Second) }
func (l Limits) mirrorBytes() int64   { return or(l.MirrorBytes, 5<<30) }
func (l Limits) treeFiles() int       { return or(l.TreeFiles, 200_000) }
func (l Limits) treeBytes() int64     { return or(l.TreeBytes, 2<<30) }

func or[T comparable](value, fallback T) T {
	var zero T
	if value == zero {
		return fallback
	}
	return value
}

// Remote is a repository somewhere else and how to get in.
type Remote struct {
	// URL is https://, http://, ssh://, user@host:path, or the absolute path of a folder below one of LocalRoots.
	URL string
	// User and Token sign in over HTTP; a token without a user name is sent with the name that most forges take.
	User  string
	Token string
	// PrivateKey signs in over SSH, in OpenSSH's format.
	PrivateKey string
	// DefaultBranch is the branch that stands for the repository where it exists. Empty: the remote's own.
	DefaultBranch string
	// HostKey is the SSH server's key as an earlier contact gave it ("ssh-ed25519 AAAA…", one a line). Empty: the
	// first key seen is taken and returned.
	HostKey string
}

// Commit is one commit of a repository.
type Commit struct {
	ID      string
	Subject string
	Author  string
	Email   string
	Time    time.Time
}

// File is one entry of a tree.
type File struct {
	Path string
	Mode FileMode
	Size int64
	blob string
}

// FileMode tells what an entry of a tree is.
type FileMode string

// The kinds of entries that a tree may hold.
const (
	ModeFile       FileMode = "100644"
	ModeExecutable FileMode = "100755"
	ModeSymlink    FileMode = "120000"
	ModeSubmodule  FileMode = "160000"
)

var idPattern = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9-]{0,63}$`)

// mirror is the folder of a repository's mirror.
func (s *Service) mirror(id string) (string, error) {
	if !idPattern.MatchString(id) {
		return "", models.Errorf(models.Internal, "A repository's id can't be %q.", id)
	}
	return filepath.Abs(filepath.Join(s.Dir, id+".git"))
}

// existing is the folder of a mirror that has been fetched on this machine.
func (s *Service) existing(id string) (string, error) {
	dir, err := s.mirror(id)
	if err != nil {
		return "", err
	}
	if _, err := os.Stat(filepath.Join(dir, "HEAD")); err != nil {
		return "", &models.Error{Code: models.Unavailable, Message: "This repository has not been read yet. Fetch it first.", Err: err}
	}
	return dir, nil
}

// Has tells whether a repository has been fetched on this machine.
func (s *Service) Has(id string) bool {
	_, err := s.existing(id)
	return err == nil
}

// Mirrors lists the ids of the repositories that have a mirror on this machine.
func (s *Service) Mirrors() ([]string, error) {
	dirs, err := filepath.Glob(filepath.Join(s.Dir, "*.git"))
	var ids []string
	for _, dir := range dirs {
		ids = append(ids, strings.TrimSuffix(filepath.Base(dir), ".git"))
	}
	return ids, err
}

// Remove deletes a repository's mirror; one that isn't there is no error.
func (s *Service) Remove(id string) error {
	dir, err := s.mirror(id)
	if err != nil {
		return err
	}
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	if err := os.Remove(dir + ".lock"); err != nil && !os.IsNotExist(err) {
		return err
	}
	return nil
}
