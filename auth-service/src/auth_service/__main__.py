"""Builds auth-service and starts it."""

from adlib import service
from adlib.audit import TOPIC as AUDIT
from adlib.clock import SystemClock
from adlib.db import Database
from adlib.rpc import ServiceProcess
from adlib.service import connect_redis, connect_redis_for_calls
from auth_service import config
from auth_service.access.service import AccessService
from auth_service.access.servicer import AccessServicer
from auth_service.accounts.servicer import AuthServicer
from auth_service.api_keys.service import ApiKeyService
from auth_service.api_keys.servicer import ApiKeyServicer
from auth_service.assembly import AccountServices, Core, OrganizationServices, build_documents, connect
from auth_service.audit.consumer import AuditHandler
from auth_service.audit.service import AuditService
from auth_service.audit.servicer import AuditServicer
from auth_service.drafts.service import DraftService
from auth_service.drafts.servicer import DraftServicer
from auth_service.invalidations.tasks import InvalidationRelay
from auth_service.jobs import AuthJobsServicer
from auth_service.mail.tasks import MailSender
from auth_service.notifications.consumer import NotificationHandler
from auth_service.notifications.service import NotificationService
from auth_service.notifications.servicer import NotificationServicer
from auth_service.organizations.servicer import OrganizationServicer
from auth_service.password_hashing import Argon2Hasher
from auth_service.preferences.service import PreferenceService
from auth_service.preferences.servicer import PreferencesServicer
from auth_service.provisioning import MIGRATIONS, create_admin, seed_roles
from auth_service.retention import RULES
from auth_service.roles.service import RoleService
from auth_service.roles.servicer import RoleServicer

_GROUP = "auth-service"
# A mail server may take seconds per mail.
_MAIL_SENDERS = 4


def from_config(settings: config.Config, hasher: Argon2Hasher | None = None) -> ServiceProcess:
    """The service with the servers that the configuration names; the hasher has argon2's parameters by default."""
    db, clock = Database(settings.database_url), SystemClock()
    redis, call_redis = connect_redis(settings.common.redis_url), connect_redis_for_calls(settings.common.redis_url)
    access, audit, documents = AccessService(db, clock), AuditService(db), build_documents(settings, db, clock)
    own = connect(settings, db, access, call_redis)
    own.closing.append(redis.close)
    core, preferences = Core.build(settings, db, call_redis, clock, hasher), PreferenceService(documents)
    notifications = NotificationService(db, documents, preferences, core.mail)
    mail_sender = MailSender(db, core.mail.added, settings.mailer, core.links, clock, app_url=settings.app_url)
    return own.process(
        servicers=[
            AuthServicer(*AccountServices.build(core, settings)),
            AccessServicer(access),
            OrganizationServicer(*OrganizationServices.build(core)),
            RoleServicer(RoleService(db, core.invalidations, clock, core.ids)),
            ApiKeyServicer(ApiKeyService(db, core.outbox, core.invalidations, clock, core.ids)),
            AuditServicer(audit),
            PreferencesServicer(preferences),
            NotificationServicer(notifications),
            DraftServicer(DraftService(documents, clock)),
            AuthJobsServicer(own.purge(RULES)),
        ],
        background=[
            own.relay(core.outbox),
            InvalidationRelay(db, redis, core.invalidations.added),
            *[mail_sender] * _MAIL_SENDERS,
            own.consumer(core.outbox.topic, _GROUP, NotificationHandler(notifications)),
            own.consumer(AUDIT, _GROUP, AuditHandler(audit)),
        ],
    )


if __name__ == "__main__":
    service.main(
        read=config.read, build=from_config, migrations=MIGRATIONS, after_migrations=seed_roles,
        commands={"create-admin": create_admin},
    )  # fmt: skip
