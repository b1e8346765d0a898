"""/api/v1: the actions of PROTOCOL.md over HTTP, one small router a subject.

Above it: `native_host.http.app`. Below it: the routers, and through `native_host.http.client` the dispatcher.
"""

from fastapi import APIRouter

from native_host.http import api_v1_generation, api_v1_info, api_v1_jobs, api_v1_models, streams

router = APIRouter()
for part in (api_v1_info, api_v1_models, api_v1_generation, api_v1_jobs, streams):
    router.include_router(part.router)
