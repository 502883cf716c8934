"""RoleService over gRPC."""

from uuid import UUID

from adplatform.auth.v1 import auth_pb2
from adplatform.auth.v1 import roles_pb2 as pb
from adplatform.options.v1.options_pb2 import Permission

from adlib import permissions
from adlib.rpc import Call
from auth_service.authorization.model import Role
from auth_service.roles.service import RoleService


class RoleServicer:
    """RoleService of the contract."""

    contract = pb.DESCRIPTOR.services_by_name["RoleService"]

    def __init__(self, roles: RoleService) -> None:
        self._roles = roles

    def ListRoles(self, _request: pb.ListRolesRequest, call: Call) -> pb.ListRolesResponse:
        return pb.ListRolesResponse(roles=[_role(one) for one in self._roles.list_all(call.caller)])

    def CreateRole(self, request: pb.CreateRoleRequest, call: Call) -> pb.Role:
        idempotency = call.idempotency(request, _role, pb.Role)
        return self._roles.create(call.caller, request.name, request.description, request.permissions, idempotency)

    def UpdateRole(self, request: pb.UpdateRoleRequest, call: Call) -> pb.Role:
        updated = self._roles.update(call.caller, request.code, request.name, request.description, request.permissions)
        return _role(updated)

    def DeleteRole(self, request: pb.DeleteRoleRequest, call: Call) -> pb.DeleteRoleResponse:
        self._roles.delete(call.caller, request.code)
        return pb.DeleteRoleResponse()

    def ListPermissions(self, _request: pb.ListPermissionsRequest, _call: Call) -> pb.ListPermissionsResponse:
        entry = pb.ListPermissionsResponse.Entry
        return pb.ListPermissionsResponse(
            permissions=[
                entry(code=code, name=Permission.Name(Permission.ValueType(code)), title=title)
                for code, title in sorted(permissions.titles().items())
            ]
        )

    def ExplainPermission(self, request: pb.ExplainPermissionRequest, call: Call) -> pb.ExplainPermissionResponse:
        explained = self._roles.explain(call.caller, UUID(request.user_id), request.permission)
        return pb.ExplainPermissionResponse(
            allowed=explained.reason.is_granted,
            reason=pb.ExplainPermissionResponse.Reason.Value(explained.reason),
            explanation=explained.description,
            role=explained.role,
            granting_roles=explained.granting_roles,
        )


def _role(role: Role) -> pb.Role:
    return pb.Role(
        code=role.code,
        name=role.name,
        description=role.description,
        permissions=sorted(role.permissions),
        organization_id=str(role.organization_id or ""),
        organization_kinds=sorted(auth_pb2.Organization.Kind.Value(kind) for kind in role.kinds),
    )
