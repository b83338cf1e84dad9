"""What an administrator types into an MDM, for one integration: field by field, in the order of the MDM's own forms.

Takes: an integration, its addresses and secrets, the CA's certificates. Gives: forms, and what does not fit.
May touch: nothing; `gather` reads the CA's certificates.
"""

from scep_server.assembly.forms.choosing import check_fit, fitting, forms
from scep_server.assembly.forms.facts import HIDDEN, LOST, Facts, Form, FormField, Mdm, gather

__all__ = ["HIDDEN", "LOST", "Facts", "Form", "FormField", "Mdm", "check_fit", "fitting", "forms", "gather"]
