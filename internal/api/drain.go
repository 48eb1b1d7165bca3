package api

import (
	"fmt"
	"net/http"

	"peerless/internal/step"
)

// drain tells how far planned maintenance is; of a leaf that serves, what it would do to whom.
func (o Options) drain(_ http.ResponseWriter, r *http.Request) (any, error) {
	v, err := o.view(r)
	if err != nil {
		return nil, err
	}
	return o.drained(v)
}

// order gives an order to the machine. One that it refuses is the asker's to think over.
func (o Options) order(what step.Order) endpoint {
	return func(_ http.ResponseWriter, r *http.Request) (any, error) {
		force := r.URL.Query().Get("force")
		if force != "" && force != "0" && force != "1" {
			return nil, refusal{http.StatusBadRequest, "force takes 0 or 1"}
		}
		v, err := o.Source.Command(r.Context(), step.Commanded{Order: what, Force: force == "1"})
		if err != nil {
			return nil, fmt.Errorf("give the order %s: %w", what, err)
		}
		if v.Drain != nil && v.Drain.Refused != "" {
			return nil, refusal{http.StatusConflict, "refused: " + v.Drain.Refused}
		}
		return o.drained(whole(v))
	}
}

func (o Options) drained(v step.View) (any, error) {
	if v.Drain == nil {
		return nil, refusal{http.StatusNotImplemented, fmt.Sprintf("%s is a %s: only a leaf can be drained", o.Status.Name, o.Status.Role)}
	}
	return v.Drain, nil
}
