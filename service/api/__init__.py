"""HTTP: routes that parse, call and shape. No route catches an error; `service.api.errors` answers them all."""
