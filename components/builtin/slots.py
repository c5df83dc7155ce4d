"""What the gaps of everyday scenes are filled with: common things, and in part invented ones. Knows no scene."""

import re
from random import Random

from components.builtin import names

FRESH_SHARE = 0.4
"""How often a value is invented, so that a reader has to copy it."""

SLOTS = {
    "first": """Tom, Mary, John, Lucy, Peter, Susan, David, Anna, Mike, Jenny, Paul, Alice, Mark, Helen, Steven, Kate,
        Frank, Nancy, Jack, Emma, George, Sally, Ben, Linda, Henry, Rose, Daniel, Monica, Li Ming, Wang Fang""",
    "title": "Mr., Mrs., Miss, Ms., Dr., Professor",
    "dish": """steak, fried rice, noodles, tomato soup, roast chicken, fish and chips, a salad, pizza, dumplings, curry,
        a hamburger, mushrooms, spaghetti, roast duck, an omelette""",
    "drink": "coffee, green tea, red wine, orange juice, beer, mineral water, milk, lemonade, hot chocolate",
    "item": """a sweater, a camera, a pair of shoes, a silk dress, a leather bag, a watch, a computer, a jacket,
        a necklace, a pair of jeans, a hat, a bicycle, a sofa, a mobile phone, a birthday card, a tie, a vase""",
    "money": "20 dollars, 35 dollars, 100 yuan, 15 pounds, 400 dollars, 60 euros, $12.50, $ 89, 250 dollars a month",
    "time": "3:30, half past six, nine o'clock, ten in the morning, noon, 7 p.m., a quarter to eight, midnight",
    "day": "Monday, Tuesday, Wednesday, Thursday, Friday, Saturday, Sunday, tomorrow, next week, the weekend",
    "pain": """a headache, a bad cough, a fever, a sore throat, a stomachache, a toothache, a backache, a cold,
        a broken arm, trouble sleeping, a sharp pain in the chest""",
    "job": """secretary, engineer, accountant, sales manager, teacher, nurse, reporter, designer, programmer, cook,
        translator, assistant, driver, lawyer""",
    "place": """the library, the bank, the post office, the museum, the train station, the airport, the hospital,
        the supermarket, the park, the zoo, the cinema, the gym, the beach, the university, the hotel""",
    "city": "London, Paris, New York, Beijing, Sydney, Tokyo, Rome, Boston, Hong Kong, Chicago, Shanghai, Toronto",
    "hobby": """swimming, playing tennis, photography, painting, cooking, hiking, playing the piano, reading novels,
        dancing, fishing, collecting stamps, gardening, playing football, listening to jazz, learning English""",
    "kin": "mother, father, sister, brother, son, daughter, wife, husband, boss, roommate, neighbour, friend, aunt",
    "subject": "history, math, chemistry, economics, literature, physics, computer science, psychology, law, French",
    "topic": """the weather, the environment, pollution, the election, the news, health food, marriage, education,
        music, films, traffic, holidays, fashion, the Internet, smoking, friendship, advertisements, pets, the war""",
    "feeling": "happy, tired, worried, nervous, angry, sad, excited, bored, disappointed, proud, surprised, upset",
    "event": "the party, the wedding, the concert, the meeting, the exam, the picnic, the match, the trip",
    "room": "a single room, a double room, a non-smoking room, a suite, a room with a view, a two-bedroom apartment",
    "trouble": """the traffic was heavy, the car broke down, the alarm clock did not ring, the bus was late,
        the train was cancelled, the computer crashed, the wallet was stolen, the keys were lost""",
    "way": "go straight and turn left, take the second right, take bus number 5, cross the bridge, walk two blocks",
    "reason": """it is too expensive, it is good for health, it saves time, it is dangerous, it is boring,
        everyone likes it, it is very convenient, there is too much work, it is raining, it is close to home""",
}


def drawn(random: Random) -> dict[str, str]:
    """One value for every slot; `thing`, `thing2` and `name` are always invented."""
    values = {key: random.choice(re.split(r",\s+", known)) for key, known in SLOTS.items()}
    if random.random() < FRESH_SHARE:
        values["item"] = f"a {names.thing(random)}"
        values["topic"] = f"the {names.thing(random)}"
    if random.random() < FRESH_SHARE:
        values |= {"city": names.place(random), "place": f"the {names.title(random)}", "time": names.hour(random)}
    if random.random() < FRESH_SHARE:
        values["money"] = names.price(random)
    return values | {"thing": names.thing(random), "thing2": names.thing(random), "name": called(random)}


def called(random: Random) -> str:
    """A name that a person is called by."""
    first, title = (random.choice(re.split(r",\s+", SLOTS[key])) for key in ("first", "title"))
    return random.choice((first, first, first, names.word(random), f"{title} {names.word(random)}", f"{title} {first}"))
