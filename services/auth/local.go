package auth

import "slipway.dev/services/idp"

// LocalID is the id of the embedded provider among the issuers.
const LocalID = "slipway"

// LocalRedirect returns where the embedded provider sends browsers back to, for idp.Provider.RedirectURI.
func LocalRedirect(externalURL string) string { return externalURL + "/login/" + LocalID + "/callback" }

// Local returns the embedded provider as an issuer, reached within the process.
func Local(p *idp.Provider) *Issuer {
	return &Issuer{ID: LocalID, Name: "Slipway account", URL: p.Issuer(), ClientID: idp.ClientID, ClientSecret: p.ClientSecret(), Client: p.Client()}
}
