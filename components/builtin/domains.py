"""Sixteen domains of data-to-text: their attributes and the phrases that state them. Knows no style.

A clause follows the subject ("Blue Spice *serves Thai food*"); a remark is a sentence of its own.
`{v}` stands for the value, `{n}` for the domain's noun.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Attribute:
    """A key of a domain: the kind of its values, clauses that may follow the subject, and remarks (sentences)."""

    key: str
    kind: str
    clauses: tuple[str, ...]
    remarks: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Domain:
    """A subject's noun, the kind of its name, and its attributes."""

    noun: str
    name_key: str
    name_kind: str
    attributes: tuple[Attribute, ...]


def _parse_domain(noun: str, name_key: str, name_kind: str, table: str) -> Domain:
    attributes = []
    for line in table.strip().splitlines():
        head, clauses, remarks = (part.strip() for part in line.split("#"))
        key, kind = head.rsplit(" ", 1)
        attributes.append(Attribute(key, kind, _split_alternatives(clauses), _split_alternatives(remarks)))
    return Domain(noun, name_key, name_kind, tuple(attributes))


def _split_alternatives(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split("/"))


DOMAINS = (
    _parse_domain(
        "restaurant",
        "name",
        "title",
        """
food quality # serves {v} food / offers {v} dishes / has a {v} menu # The food is {v}. / Expect {v} cooking.
eat type thing # is a {v} / runs as a {v} # It is best called a {v}. / Think of it as a {v}.
area place # is in {v} / can be found in {v} / stands in the {v} area # You will find it in {v}. / The area is {v}.
near title # is near {v} / stands next to {v} / sits close to {v} # Look for {v} nearby. / {v} is just round the corner.
price range price # costs {v} a head / charges {v} # Prices are around {v}. / A meal comes to {v}.
customer rating number # is rated {v} out of 5 / has a rating of {v} # Customers rate it {v}. / Its rating is {v}.""",
    ),
    _parse_domain(
        "hotel",
        "hotel",
        "title",
        """
city place # is in {v} / stands in the middle of {v} # The city is {v}. / It is one of the hotels of {v}.
rooms number # has {v} rooms / offers {v} rooms # There are {v} rooms. / It counts {v} rooms.
price per night price # costs {v} a night / lets rooms from {v} # A night is {v}. / Rooms start at {v}.
view thing # looks out on a {v} / has a view of a {v} # From the windows you see a {v}.
opened year # was opened in {v} / has been open since {v} # It dates from {v}. / Doors opened in {v}.
manager person # is run by {v} / is managed by {v} # The manager is {v}. / {v} runs the house.""",
    ),
    _parse_domain(
        "player",
        "player",
        "person",
        """
club title # plays for {v} / has joined {v} # The club is {v}. / {v} has the contract.
position thing # plays as a {v} / takes the field as a {v} # The position is {v}.
birth place place # was born in {v} / comes from {v} # {v} is the place of birth. / Home is {v}.
goals number # has scored {v} goals / made {v} goals # That makes {v} goals so far.
shirt number number # wears number {v} / has the number {v} shirt # The shirt shows {v}.
coach person # trains under {v} / is coached by {v} # {v} is the coach.""",
    ),
    _parse_domain(
        "film",
        "title",
        "title",
        """
director person # was directed by {v} / is a film of {v} # The director is {v}. / {v} directed it.
released year # came out in {v} / was released in {v} # It is a film of {v}.
leading actor person # stars {v} / has {v} in the main part # {v} plays the lead.
running time measure # runs for {v} / lasts {v} # The running time is {v}.
genre thing # is a {v} picture / belongs to the {v} films # Its genre is {v}.
budget price # cost {v} to make / had a budget of {v} # The budget was {v}.""",
    ),
    _parse_domain(
        "book",
        "book",
        "title",
        """
author person # was written by {v} / is by {v} # The author is {v}. / {v} wrote it.
publisher title # was published by {v} / came out at {v} # {v} is the publisher.
pages number # has {v} pages / runs to {v} pages # It is {v} pages long.
subject thing # is about a {v} / tells of a {v} # Its subject is a {v}.
first printed year # was first printed in {v} / appeared in {v} # The first edition is of {v}.
shelf code # stands on shelf {v} / is kept at {v} # Look on shelf {v}.""",
    ),
    _parse_domain(
        "city",
        "city",
        "place",
        """
country place # lies in {v} / is a city of {v} # It belongs to {v}. / The country is {v}.
population number # has {v} people / is home to {v} people # The population is {v}.
river place # stands on the {v} / is crossed by the river {v} # Its river is the {v}.
mayor person # is led by {v} / has {v} for mayor # The mayor is {v}.
founded year # was founded in {v} / goes back to {v} # It was founded in {v}.
height measure # lies at a height of {v} / is {v} above the sea # It lies {v} up.""",
    ),
    _parse_domain(
        "phone",
        "model",
        "code",
        """
brand title # is made by {v} / comes from {v} # The brand is {v}. / {v} makes it.
screen measure # has a screen of {v} / shows {v} of screen # The screen measures {v}.
battery measure # runs for {v} / has a battery for {v} # The battery gives {v}.
colour colour # comes in {v} / is painted {v} # The colour is {v}.
price price # sells at {v} / costs {v} # Its price is {v}. / Buyers pay {v}.
weight measure # weighs {v} / has a weight of {v} # It weighs {v}.""",
    ),
    _parse_domain(
        "dish",
        "recipe",
        "title",
        """
main ingredient thing # is made with {v} / begins with {v} # The main ingredient is {v}.
cooking time measure # takes {v} to cook / is ready in {v} # Allow {v} for it.
serves number # feeds {v} people / is enough for {v} # It serves {v}.
cook person # was written down by {v} / comes from {v} # The recipe is from {v}.
origin place # comes out of {v} / belongs to the kitchens of {v} # Its home is {v}.
season thing # is best in {v} season / suits the {v} season # Make it when it is time for {v}.""",
    ),
    _parse_domain(
        "flight",
        "flight",
        "code",
        """
from place # leaves from {v} / starts at {v} # It departs from {v}.
to place # flies to {v} / goes to {v} # It lands in {v}. / The destination is {v}.
departure hour # leaves at {v} / departs at {v} # Departure is at {v}.
gate code # boards at gate {v} / uses gate {v} # The gate is {v}.
aircraft title # is flown by a {v} / uses a {v} # The aircraft is a {v}.
seats left number # has {v} seats left / still offers {v} seats # There are {v} seats left.""",
    ),
    _parse_domain(
        "station",
        "station",
        "place",
        """
temperature measure # measured {v} / reached {v} # The temperature was {v}.
wind quality # had a {v} wind / saw {v} winds # The wind was {v}.
rain measure # counted {v} of rain / had {v} of rain # Rain came to {v}.
day date # reported on {v} / sent its figures on {v} # The day was {v}.
observer person # is read by {v} / is kept by {v} # {v} took the reading.
sky colour # was under a {v} sky / saw a {v} sky # The sky was {v}.""",
    ),
    _parse_domain(
        "company",
        "company",
        "title",
        """
industry thing # makes its money with a {v} / works in the {v} trade # Its trade is {v}.
headquarters place # has its head office in {v} / is based in {v} # The head office is in {v}.
founder person # was founded by {v} / was started by {v} # The founder is {v}.
employees number # employs {v} people / has {v} on its staff # It has {v} employees.
revenue price # turned over {v} / took in {v} last year # Revenue was {v}.
product thing # is known for its {v} / sells a {v} # The main product is a {v}.""",
    ),
    _parse_domain(
        "scientist",
        "scientist",
        "person",
        """
field thing # studied the {v} / worked on the {v} # The field was the {v}.
university title # taught at {v} / was at {v} # {v} was the university.
born date # was born on {v} / came into the world on {v} # The birthday was {v}.
award title # won the {v} / was given the {v} # The award was the {v}.
nationality quality # was {v} / held a {v} passport # The nationality was {v}.
student person # taught {v} / had {v} for a student # One student was {v}.""",
    ),
    _parse_domain(
        "building",
        "building",
        "title",
        """
architect person # was designed by {v} / is the work of {v} # The architect is {v}.
floors number # has {v} floors / rises over {v} floors # It counts {v} floors.
completed year # was completed in {v} / was finished in {v} # Work ended in {v}.
street place # stands in {v} / is found on {v} # The street is {v}.
material thing # is built of {v} / is made of {v} # The walls are of {v}.
cost price # cost {v} / was built for {v} # The bill came to {v}.""",
    ),
    _parse_domain(
        "album",
        "album",
        "title",
        """
artist title # is by {v} / was recorded by {v} # The artist is {v}. / {v} made it.
label title # came out on {v} / is sold by {v} # The label is {v}.
tracks number # has {v} tracks / holds {v} songs # There are {v} tracks on it.
style quality # sounds {v} / is a {v} record # The style is {v}.
recorded in place # was recorded in {v} / was made in {v} # The studio was in {v}.
producer person # was produced by {v} / had {v} at the desk # {v} produced it.""",
    ),
    _parse_domain(
        "animal",
        "animal",
        "title",
        """
keeper person # is looked after by {v} / is fed by {v} # The keeper is {v}.
age number # is {v} years old / has lived for {v} years # Its age is {v}.
diet thing # eats {v} / lives on {v} # It is fed on {v}.
house code # lives in house {v} / is kept in {v} # Its house is {v}.
coat colour # has a {v} coat / is {v} all over # The coat is {v}.
came from place # came from {v} / was born in {v} # It was brought from {v}.""",
    ),
    _parse_domain(
        "car",
        "car",
        "title",
        """
engine measure # is driven by an engine of {v} / has {v} under the hood # The engine gives {v}.
maker title # is built by {v} / is a car of {v} # The maker is {v}.
top speed measure # reaches {v} / goes up to {v} # Its top speed is {v}.
doors number # has {v} doors / comes with {v} doors # It has {v} doors.
paint colour # is painted {v} / comes in {v} # The paint is {v}.
owner person # belongs to {v} / is owned by {v} # The owner is {v}.""",
    ),
)
