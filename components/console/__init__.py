"""The console: web pages over what the parts already say. Read only, unless an operator or admin has logged in.

To add a page:

1. Write `pages/<name>.py` with `router = APIRouter()`. A route is a plain function (FastAPI runs it in a thread, so it
   may read files and databases) whose parameter says who may see it, from `components.console.view`:
       CurrentView   every visitor who may read the whole fleet (every role but a tenant; anyone on loopback while there
                     are no keys);
       TenantView    a route with `{tenant}` in its path: also the holder of this tenant's key; others get 404;
       OperatorView  operators and admins; needed by every route that changes something.
   Return `view.render("<name>.html", key=value)`, also for a fragment that htmx asks for (`view.is_part`).
2. Write `templates/<name>.html`: `{% extends "layout.html" %}`, blocks `title` and `content`. Links begin with
   `{{ root }}`, static files are `{{ asset("console.js") }}`. `{{ root }}` is where the console is mounted. Values are
   escaped. `macros.html` has times, badges, tables. No inline script or style: the content security policy refuses it.
3. A form is `<form method="post">` with `{{ csrf_field }}` inside. Every method but GET and HEAD is refused without
   its token, before the route runs. `read_form(request)` of `components.console.security` returns the fields of an
   `async` route; `FormFields` is the same as a parameter.
4. Add the module to `PAGES` in `app.py`. `NAVIGATION` there has the links at the top; `TENANT_TABS` those of a tenant.

`view.sources` has the workspace (None: there is none), the registry, the database and the server's metrics;
`view.visitor.name` is the name for the ledger. Data for `console.js`: `<script type="application/json" id="...">` is
inert, and `{{ value | to_json }}` writes it safely; a chart is `{{ chart(...) }}` of `macros.html`.
"""
