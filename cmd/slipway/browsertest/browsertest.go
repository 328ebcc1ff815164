// Package browsertest holds the tests that use the portal as a person does: a real Chromium clicks from the set-up
// page to the running app. It stands apart so that the server does not import a browser's driver.
//
// With SLIPWAY_TEST_PICTURES=FOLDER the tests also take a picture of every page that they inspect: light, dark and
// as wide as a phone. `make pictures` does.
package browsertest
